"""`verify --via`: does a pinned deployment hold on a machine that another command leads to?

Nothing of ours is installed there. The file is hashed by a program of the target, memory and processors are read by
the collector, and speeds are estimated, or measured by the target's own llama-bench with the pinned settings. A target
is not trusted to tell the truth about itself; what it says is bounded and checked, and a part of an answer is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from advisor.evidence import Value
from advisor.manifest import DeploymentManifest, Speeds
from advisor.target import Target
from advisor.verify import Verification, VerifyPlan, believe, verification
from advisor.verify_checks import Check, fidelity_checks, license_checks, speed_checks
from advisor.verify_estimate import budget_check, estimate, memory_checks
from advisor.verify_file import is_pinned_file
from advisor.verify_run import MOST_GENERATED
from profiles.errors import RemoteCommandError
from profiles.llama_bench import LlamaBenchRow, LlamaBenchTest, run_llama_bench
from profiles.remote_file import RemoteFile, remote_file
from profiles.spread import spread
from quantize.manifest import FileNote

REPETITIONS = 5


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the target: `prefix` from `profiles.remote.split_prefix`, and what lies where there.

    `file` is the model file's path on the target; `llama_bench` the words that start llama-bench there.
    """

    prefix: Sequence[str]
    file: str | None = None
    llama_bench: Sequence[str] = ()


def verify_remote(
    plan: VerifyPlan,
    way: Way,
    target_of: Callable[[DeploymentManifest], Target],
    progress: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Hold the target against a manifest; `target_of` makes the target of its workload.

    Raises what `advisor.verify.verify` raises, and RemoteError and its kinds for a target that cannot be asked.
    """
    believed = believe(plan)
    if isinstance(believed, Verification):
        return believed
    manifest, checks = believed
    progress("reading the target")
    target = target_of(manifest)
    before = None if way.file is None else _asked(way, way.file, progress)
    checks += _file_checks(manifest, before)
    same_file = is_pinned_file(manifest, checks)
    estimated = estimate(manifest, None, target)
    checks += memory_checks(estimated, target, None)
    measured: Speeds | None = None
    notes: list[str] = []
    problem, engine = "", None
    if way.llama_bench and isinstance(before, RemoteFile) and same_file:
        progress("running llama-bench there")
        try:
            rows = run_llama_bench(way.prefix, way.llama_bench, before.path, bench_test(manifest))
        except RemoteCommandError as error:
            problem = "llama-bench gave no speed there"
            checks.append(Check(id="run", title="Loads and answers", status="fail", message=str(error)))
        else:
            measured, engine = speeds_of(rows), f"llama.cpp {rows[0].build_commit or 'of an unknown build'}"
            checks.append(Check(id="run", title="Loads and answers", status="pass", found=engine))
            notes.append(
                "llama-bench there has no noise gate: its scatter is all that is known of the disturbance"
            )
        checks.append(_unchanged(before, _asked(way, before.path, progress)))
    elif way.llama_bench:
        problem = "llama-bench was not run there, since there is no file that may be run"
        checks.append(Check(id="run", title="Loads and answers", status="unknown", message=problem))
    speeds = measured or (None if problem else estimated.speeds)
    checks += speed_checks(manifest.requires, speeds, problem or estimated.problem or "it is not known")
    if manifest.requires.max_memory_bytes is not None:
        checks.append(budget_check(manifest, None, estimated))
    checks += fidelity_checks(manifest, same_file=same_file)
    checks += license_checks(manifest)
    return verification(
        plan,
        manifest,
        target,
        checks,
        mode="run" if measured is not None else "estimate",
        engine=engine,
        measured=measured,
        estimated=estimated.speeds,
        notes=tuple(notes),
    )


def bench_test(manifest: DeploymentManifest) -> LlamaBenchTest:
    """The pinned settings and the workload's lengths as llama-bench takes them."""
    settings, workload = manifest.settings, manifest.workload
    flash = {"auto": None, "on": True, "off": False}[settings.flash_attention]
    return LlamaBenchTest(
        n_prompt=workload.prompt_tokens,
        n_gen=min(workload.answer_tokens, MOST_GENERATED),
        threads=settings.threads,
        n_ubatch=settings.micro_batch,
        type_k=settings.type_k,
        type_v=settings.type_v,
        n_gpu_layers=0 if manifest.backend == "cpu" else settings.offload_layers,
        flash_attention=flash,
        repetitions=REPETITIONS,
    )


def speeds_of(rows: Sequence[LlamaBenchRow]) -> Speeds:
    """llama-bench's two tests as speeds: its repetitions give the interval, as those of `bench` do."""
    pp = next(row for row in rows if not row.n_gen)
    tg = next(row for row in rows if not row.n_prompt)
    prompt, answer = _value(pp), _value(tg)
    return Speeds(
        n_prompt=pp.n_prompt,
        n_gen=tg.n_gen,
        pp_tokens_per_s=prompt,
        tg_tokens_per_s=answer,
        ttft_s=Value(
            pp.n_prompt / prompt.value + 1 / answer.value,
            pp.n_prompt / prompt.high + 1 / answer.high,
            pp.n_prompt / prompt.low + 1 / answer.low,
            "measured",
        ),
    )


def _value(row: LlamaBenchRow) -> Value:
    samples = row.samples_ts
    if len(samples) < 2:  # an old version: only mean and deviation
        samples = (row.avg_ts - row.stddev_ts, row.avg_ts + row.stddev_ts)
        samples = tuple(max(sample, row.avg_ts / 10) for sample in samples)
    found = spread(samples)
    return Value(found.value, found.low, found.high, "measured")


def _asked(way: Way, path: str, progress: Callable[[str], None]) -> RemoteFile | str:
    """Size and hash of the file there; the reason where there is no such file or it may not be read."""
    progress("hashing the file there")
    try:
        return remote_file(way.prefix, path)
    except RemoteCommandError as error:
        return str(error)


def _file_checks(manifest: DeploymentManifest, found: RemoteFile | str | None) -> list[Check]:
    pinned: FileNote | None = manifest.file
    file = Check(id="file", title="File", status="unknown")
    if found is None:
        message = "it was not looked at: give --file, its path there"
        return [msgspec.structs.replace(file, message=message)]
    if isinstance(found, str):
        return [msgspec.structs.replace(file, status="fail", message=found)]
    if pinned is None:
        message = "it was pinned before there was a file, so its hash is not known"
        return [msgspec.structs.replace(file, message=message)]
    if found.size_bytes != pinned.bytes:
        message = f"{found.path} has {found.size_bytes:,} bytes, {pinned.bytes:,} are pinned"
        return [msgspec.structs.replace(file, status="fail", message=message)]
    hashed = Check(id="sha256", title="SHA-256", status="pass", required=pinned.sha256, found=found.sha256)
    if found.sha256 is None:
        message = "no program there can hash a file"
        hashed = msgspec.structs.replace(hashed, status="unknown", message=message)
    elif found.sha256 != pinned.sha256:
        message = "another file than the pinned one, or a damaged copy of it"
        hashed = msgspec.structs.replace(hashed, status="fail", message=message)
    return [msgspec.structs.replace(file, status="pass", found=f"{found.size_bytes:,} bytes"), hashed]


def _unchanged(before: RemoteFile, after: RemoteFile | str) -> Check:
    check = Check(id="unchanged", title="File unchanged", status="pass")
    if after == before:
        return check
    message = after if isinstance(after, str) else f"{before.path} is another file than before the run"
    return msgspec.structs.replace(check, status="fail", message=message)
