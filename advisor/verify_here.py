"""The run of `verify` on this machine: the engine, what it would allocate, a short bench of the pinned deployment."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from advisor.evidence import Value
from advisor.held_file import HeldFile
from advisor.identify import ModelFile
from advisor.manifest import DeploymentManifest, Speeds
from advisor.target import Target
from advisor.verify_checks import Check, Status, verdict
from advisor.verify_estimate import Estimated, memory_checks
from advisor.verify_run import run, run_settings
from profiles.engine.client import Engine
from profiles.engine.protocol import EngineFailure, EngineVersion, MemoryQuestion
from profiles.errors import EngineError
from profiles.limits import Method
from profiles.throughput import KV_TYPES, RunSettings


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run: a file that is held open, what its header says (None: it is no model's), what is expected."""

    manifest: DeploymentManifest
    held: HeldFile
    file: ModelFile | None
    estimated: Estimated
    target: Target
    strict: bool
    progress: Callable[[str], None]


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """How a deployment was run on this machine, `here`, as another device, and what that does not show.

    `memory_limit_bytes` was in force by `method`, and `cores` by affinity; null was not limited. `measured` is what was
    measured here under them, null where it did not answer.
    """

    device: str
    here: str
    method: Method | None
    memory_limit_bytes: int | None
    cores: int | None
    threads: int | None
    threads_batch: int | None
    measured: Speeds | None
    not_rehearsed: tuple[str, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `speeds` None: none but the estimate; `problem` says why not even that is to be judged.

    The speeds of a rehearsal are scaled to the target.
    """

    checks: tuple[Check, ...]
    speeds: Speeds | None = None
    problem: str = ""
    engine: str | None = None
    engine_missing: bool = False
    notes: tuple[str, ...] = ()
    rehearsal: Rehearsal | None = None


def run_here(case: Case) -> Outcome:
    """Load the deployment with its own settings, let it answer, and time it."""
    from profiles.engine.fit import gpu_backends

    manifest, settings = case.manifest, run_settings(case.manifest.settings, case.manifest.backend)
    with Engine() as engine:
        found = ask_version(engine, manifest)
        if isinstance(found, Outcome):
            checks = memory_checks(case.estimated, case.target, None)
            return msgspec.structs.replace(found, checks=(*found.checks, *checks))
        version, name, notes = found
        if settings.gpu_layers and manifest.backend not in gpu_backends(version):
            message = f"it was pinned to run by {manifest.backend}, which this engine does not drive"
            check = Check(id="engine", title="Engine", status="fail", message=message, found=name)
            return Outcome(
                checks=(check, *memory_checks(case.estimated, case.target, None)),
                problem="nothing was run: the engine does not drive the accelerator",
                engine=name,
                notes=notes,
            )
        checks = [Check(id="engine", title="Engine", status="pass", found=words(version))]
        before = memory_checks(case.estimated, case.target, _asked(engine, case, settings))
        if verdict(tuple(before)) == "fail":
            problem = "nothing was run: it does not fit into the memory there is now"
            checks += [*before, loads("unknown", problem)]
            return Outcome(checks=tuple(checks), problem=problem, engine=name, notes=notes)
        case.progress("loading and timing")
        try:
            ran = run(
                engine,
                case.held.load_path,
                settings,
                manifest.workload,
                manifest.settings.context_length,
                strict=case.strict,
            )
        except EngineError as error:
            message = said(error, case.held)
            status: Status = "unknown" if error.failure.kind == "timeout" else "fail"
            checks += [*before, loads(status, message)]
            problem = f"the run failed: {message}"
            return Outcome(checks=tuple(checks), problem=problem, engine=name, notes=notes)
    peak = ran.speeds.memory_bytes
    # It fitted, since it ran: what was resident says more than the estimate.
    checks += memory_checks(case.estimated, case.target, peak if manifest.backend == "cpu" else None)
    checks.append(loads("pass"))
    return Outcome(
        checks=tuple(checks),
        speeds=ran.speeds,
        problem=ran.problem or "",
        engine=name,
        notes=(*notes, *ran.notes),
    )


def loads(status: Status, message: str = "") -> Check:
    """The check that every run answers."""
    return Check(id="run", title="Loads and answers", status=status, message=message)


def ask_version(
    engine: Engine, manifest: DeploymentManifest
) -> tuple[EngineVersion, str, tuple[str, ...]] | Outcome:
    """The engine that answers, its name, and a note where it is not the pinned one; an outcome where none answers."""
    version = engine.version()
    if isinstance(version, EngineFailure):
        missing = version.kind == "missing"
        check = Check(
            id="engine", title="Engine", status="unknown" if missing else "fail", message=version.message
        )
        problem = "nothing was run: the engine gave no answer"
        return Outcome(checks=(check,), problem=problem, engine_missing=missing)
    name = f"llama-cpp-python {version.package}"
    if manifest.engine is None or manifest.engine.startswith(f"{name} "):
        return version, name, ()
    return version, name, (f"pinned with {manifest.engine}, and here is {name}",)


def words(version: EngineVersion) -> str:
    """The engine with the commit it was built of."""
    return f"llama-cpp-python {version.package}" + (f" ({version.commit})" if version.commit else "")


def said(error: EngineError, held: HeldFile) -> str:
    """The engine's message, with the file's own name in it."""
    return str(error).replace(str(held.load_path), held.path.name)


def _asked(engine: Engine, case: Case, settings: RunSettings) -> Value | None:
    """What the engine itself says it would allocate on the host, with the estimate's overhead. Only for a CPU."""
    memory = case.estimated.memory
    if settings.gpu_layers or case.file is None or memory is None:
        return None
    report = engine.memory(
        MemoryQuestion(
            str(case.held.load_path),
            case.manifest.settings.context_length,
            n_ubatch=settings.n_ubatch,
            n_batch=settings.n_batch,
            type_k=KV_TYPES[settings.type_k],
            type_v=KV_TYPES[settings.type_v],
            flash_attention=settings.flash_attention,
        )
    )
    if isinstance(report, EngineFailure):
        return None
    own = report.kv_cache_bytes + report.state_bytes + report.compute_bytes + report.output_bytes
    total = float(case.file.variant.tensor_bytes + own + memory.overhead_bytes)
    # The interval is the estimate's; only what the engine knows exactly has moved.
    shift = total - memory.reserved_bytes
    return Value(total, min(total, memory.host_low_bytes + shift), max(total, memory.host_high_bytes + shift))
