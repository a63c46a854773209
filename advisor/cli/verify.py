"""`slm-advisor verify`: hold this machine against a deployment manifest; the exit code is for gates."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from advisor.cli.options import given_options, json_option, via_option
from advisor.cli.output import tool_version, write_json, write_text
from advisor.cli.status import StatusLine

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    epilog="Examples:  slm-advisor verify deployment.json\n\n"
    "slm-advisor verify deployment.json --verify-key release.pub --junit verify.xml\n\n"
    "slm-advisor verify deployment.json --no-run --policy policy.toml --json\n\n"
    "slm-advisor verify deployment.json --as 'Raspberry Pi 5'\n\n"
    "slm-advisor verify deployment.json --devices inventory.jsonl\n\n"
    "slm-advisor verify deployment.json --via 'ssh board' --file '~/model.gguf' --llama-bench ~/llama-bench"
)
@click.argument("manifest", metavar="MANIFEST", type=click.Path(path_type=Path))
@click.option(
    "--file", metavar="FILE.gguf", help="The model file, with --via its path there.  [beside the manifest]"
)
@via_option
@click.option(
    "--llama-bench",
    metavar="COMMAND",
    help="With --via: llama-bench on the target, to measure with; without it speeds are estimated.",
)
@click.option(
    "--as",
    "as_device",
    metavar="DEVICE",
    help="Rehearse it here as this device: under its memory limit and number of cores; speed is scaled.",
)
@click.option(
    "--devices",
    metavar="FILE.jsonl|-",
    help="By estimate, for a fleet of devices, one a line; nothing is run.",
)
@click.option("--no-run", is_flag=True, help="By estimate only: the file is checked, and nothing is run.")
@click.option("--under-load", is_flag=True, help="Measure while other programs run too.")
@click.option("--verify-key", type=_FILE, metavar="KEY.pub", help="Believe only what this key has signed.")
@click.option("--signature", type=_FILE, metavar="FILE", help="The signature.  [MANIFEST.sig]")
@click.option(
    "--policy", metavar="FILE.toml", help="Also hold it against this policy (docs/how-to/policy.md)."
)
@click.option("--junit", type=_FILE, metavar="FILE", help="Also write JUnit XML.")
@click.option("--sarif", type=_FILE, metavar="FILE", help="Also write SARIF 2.1.0.")
@json_option
def verify(
    manifest: Path,
    file: str | None,
    via: str | None,
    llama_bench: str | None,
    as_device: str | None,
    devices: str | None,
    no_run: bool,
    under_load: bool,
    verify_key: Path | None,
    signature: Path | None,
    policy: str | None,
    junit: Path | None,
    sarif: Path | None,
    as_json: bool,
) -> int:
    """Say whether a pinned deployment holds: file, memory, engine, speed, fidelity, licence, policy.

    On this machine, or with --via on another, where only a shell is needed; with --as here under another's limits; with
    --devices on a fleet, by estimate.

    Each requirement passes, fails or is unknown: a limit inside a number's 80% interval is too close to call. Exit
    codes: 0 all pass; 3 one fails; 4 none fails, one is unknown; 5 the engine is missing; 2 the manifest cannot be
    read or was changed.
    """
    import datetime

    import msgspec

    from advisor.cli.options import policy_of, target_of
    from advisor.manifest import DeploymentManifest, read_manifest_bytes
    from advisor.report.verify_report import junit_text, sarif_document, verification_text
    from advisor.target import Target
    from advisor.verify import VerifyPlan
    from advisor.verify import verify as run
    from advisor.verify_estimate import workload_of
    from advisor.verify_policy import PolicyOfTheDay
    from advisor.verify_remote import Way, verify_remote
    from profiles.data_folder import write_whole
    from profiles.remote import split_prefix

    if signature is not None and verify_key is None:
        raise click.UsageError("--signature needs --verify-key", click.get_current_context())
    allowed = policy_of(policy)
    plan = VerifyPlan(
        manifest=manifest,
        file=None if file is None else Path(file),
        run=not no_run,
        strict=not under_load,
        public_key=verify_key,
        signature=signature,
        policy=None if allowed is None else PolicyOfTheDay(allowed, datetime.date.today()),
    )

    if devices is not None:
        from advisor.cli.fleet import check_fleet, verify_the_fleet

        answered = {"manifest", "file", "devices", "no_run", "verify_key", "signature", "policy", "as_json"}
        context = click.get_current_context()
        check_fleet(context, devices, given_options(context, frozenset(answered)))
        return verify_the_fleet(devices, plan, as_json=as_json)
    if llama_bench is not None and via is None:
        raise click.UsageError(
            "--llama-bench is for a target of --via; here the engine measures", click.get_current_context()
        )

    if as_device is not None and (via is not None or no_run):
        raise click.UsageError(
            f"--as runs the deployment here: leave {'--no-run' if via is None else '--via'} out",
            click.get_current_context(),
        )

    def target(pinned: DeploymentManifest, device: str | None = as_device) -> Target:
        return target_of(device, workload_of(pinned), via=via, strict=False)

    def here(pinned: DeploymentManifest) -> Target:
        return target(pinned, None)

    line = StatusLine()

    def tell(text: str) -> None:
        line.show(text, milestone=True)

    try:
        if via is None:
            result = run(plan, target, tell, here_of=None if as_device is None else here)
        else:
            words = [] if llama_bench is None or no_run else _words(llama_bench)
            way = Way(prefix=split_prefix(via), file=file, llama_bench=words)
            result = verify_remote(plan, way, target, tell)
    finally:
        line.end()
    if junit is not None:
        write_whole(junit, junit_text(result).encode())
    if sarif is not None:
        lines = read_manifest_bytes(manifest).decode(errors="replace").splitlines()
        document = sarif_document(result, tool_version(), lines)
        write_whole(sarif, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    if as_json:
        write_json("verification", result)
    else:
        write_text(verification_text(result))
    return result.exit_code


def _words(command: str) -> list[str]:
    from advisor.errors import InvalidInputError

    try:
        return shlex.split(command)
    except ValueError as error:
        raise InvalidInputError(f"--llama-bench '{command}' cannot be understood: {error}") from None
