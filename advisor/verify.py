"""`verify`: does a pinned deployment hold on this machine?

In this order, so that nothing is believed that was not checked: the signature, the manifest, the file, the memory,
the engine, a short bench, and last whether the file is still the one that was hashed and what a policy says of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import msgspec

from advisor.manifest import FILE_NAME, DeploymentManifest, Speeds, decode_manifest, read_manifest_bytes
from advisor.signing import BadSignatureError, signature_path, verify_signature
from advisor.target import Target
from advisor.verify_checks import Check, Status, fidelity_checks, license_checks, speed_checks, verdict
from advisor.verify_estimate import budget_check, estimate, memory_checks
from advisor.verify_file import check_file, is_pinned_file
from advisor.verify_here import Case, Outcome, Rehearsal, loads, run_here
from advisor.verify_policy import PolicyOfTheDay, policy_checks
from advisor.verify_rehearse import clamped, rehearse

Mode = Literal["run", "rehearsal", "estimate"]


class VerifyPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to verify and how. `file` None: beside the manifest, by its pinned name."""

    manifest: Path
    file: Path | None = None
    run: bool = True
    strict: bool = True
    public_key: Path | None = None
    signature: Path | None = None
    policy: PolicyOfTheDay | None = None


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `mode` estimate: nothing was run. `deployment` is null for a manifest that is not believed.

    A rehearsal's `scaled` are its speeds on the device that it was run as, which was not there to be `measured`.
    """

    manifest: str
    deployment: str | None
    mode: Mode
    verdict: Status
    exit_code: int
    device: str | None = None
    engine: str | None = None
    checks: tuple[Check, ...] = ()
    measured: Speeds | None = None
    estimated: Speeds | None = None
    rehearsal: Rehearsal | None = None
    scaled: Speeds | None = None
    notes: tuple[str, ...] = ()


def verify(
    plan: VerifyPlan,
    target_of: Callable[[DeploymentManifest], Target],
    progress: Callable[[str], None] = lambda _: None,
    *,
    here_of: Callable[[DeploymentManifest], Target] | None = None,
) -> Verification:
    """Hold this machine against a manifest; `target_of` makes the target of its workload.

    With `here_of`, which makes that of this machine, the target is another device, as which this machine rehearses it.

    Raises InvalidManifestError for a manifest that cannot be read or was changed, InvalidInputError for a key that
    is none, ComponentMissingError. What does not hold is a failed check and no error.
    """
    believed = believe(plan)
    if isinstance(believed, Verification):
        return believed
    manifest, checks = believed
    target = target_of(manifest)
    with ExitStack() as stack:
        held, file = check_file(file_path(plan, manifest), manifest, checks, stack, progress)
        same_file = is_pinned_file(manifest, checks)
        subject = manifest if here_of is None else clamped(manifest, target.device)
        estimated = estimate(subject, file, target)
        if not plan.run:
            outcome = Outcome(checks=tuple(memory_checks(estimated, target, None)))
        elif held is None or (not same_file and manifest.file is not None):
            problem = "nothing was run, since there is no file that may be run"
            memory = memory_checks(estimated, target, None)
            outcome = Outcome(checks=(*memory, loads("unknown", problem)), problem=problem)
        else:
            case = Case(
                manifest=subject,
                held=held,
                file=file,
                estimated=estimated,
                target=target,
                strict=plan.strict,
                progress=progress,
            )
            outcome = run_here(case) if here_of is None else rehearse(case, here_of(manifest))
        checks += outcome.checks
        if held is not None and (change := held.change()) is not None:
            message = f"{held.path.name} {change} while it was verified"
            checks.append(Check(id="unchanged", title="File unchanged", status="fail", message=message))
        elif held is not None:
            checks.append(Check(id="unchanged", title="File unchanged", status="pass"))
    found = outcome.speeds
    speeds = found if found is not None and found.tg_tokens_per_s else None
    if speeds is None and not outcome.problem:
        speeds = estimated.speeds
    why = outcome.problem or estimated.problem or "it was neither measured nor estimated"
    checks += speed_checks(manifest.requires, speeds, why)
    if manifest.requires.max_memory_bytes is not None:
        checks.append(budget_check(manifest, found, estimated))
    checks += fidelity_checks(manifest, same_file=same_file)
    checks += license_checks(manifest)
    return verification(
        plan,
        manifest,
        target,
        checks,
        mode="rehearsal" if outcome.rehearsal else "run" if found is not None else "estimate",
        engine=outcome.engine,
        engine_missing=outcome.engine_missing,
        measured=None if outcome.rehearsal else found,
        estimated=estimated.speeds,
        notes=outcome.notes,
        rehearsal=outcome.rehearsal,
        scaled=found if outcome.rehearsal else None,
    )


def manifest_path(plan: VerifyPlan) -> Path:
    return plan.manifest / FILE_NAME if plan.manifest.is_dir() else plan.manifest


def file_path(plan: VerifyPlan, manifest: DeploymentManifest) -> Path | None:
    """The model file that was given, else the pinned one beside the manifest; None where there is neither."""
    if plan.file is not None or manifest.file is None:
        return plan.file
    return manifest_path(plan).parent / manifest.file.name


def believe(plan: VerifyPlan) -> tuple[DeploymentManifest, list[Check]] | Verification:
    """The manifest with the check of its signature, if one is asked for; the whole answer where that does not hold.

    Raises InvalidManifestError, InvalidInputError for a key that is none, ComponentMissingError.
    """
    path = manifest_path(plan)
    content = read_manifest_bytes(path)
    if plan.public_key is None:
        return decode_manifest(content, str(path)), []
    check = Check(id="signature", title="Signature", status="pass")
    try:
        verify_signature(content, plan.signature or signature_path(path), plan.public_key)
    except BadSignatureError as error:
        return Verification(
            manifest=str(path),
            deployment=None,
            mode="estimate",
            verdict="fail",
            exit_code=3,
            checks=(msgspec.structs.replace(check, status="fail", message=str(error)),),
            notes=("nothing of the manifest was believed, so nothing else was checked",),
        )
    return decode_manifest(content, str(path)), [check]


def verification(
    plan: VerifyPlan,
    manifest: DeploymentManifest,
    target: Target,
    checks: list[Check],
    *,
    mode: Mode,
    engine: str | None,
    measured: Speeds | None,
    estimated: Speeds,
    notes: tuple[str, ...],
    engine_missing: bool = False,
    rehearsal: Rehearsal | None = None,
    scaled: Speeds | None = None,
) -> Verification:
    """The answer: what the policy says is added, and verdict and exit code follow from the checks."""
    if plan.policy is not None:
        allowed, exceptions = policy_checks(plan.policy, manifest, checks)
        checks, notes = checks + allowed, notes + exceptions
    status = verdict(tuple(checks))
    return Verification(
        manifest=str(manifest_path(plan)),
        deployment=manifest.label,
        mode=mode,
        verdict=status,
        exit_code=3 if status == "fail" else 5 if engine_missing else 4 if status == "unknown" else 0,
        device=target.device.name or target.device.cpu.name,
        engine=engine,
        checks=tuple(checks),
        measured=measured,
        estimated=estimated,
        rehearsal=rehearsal,
        scaled=scaled,
        notes=notes,
    )
