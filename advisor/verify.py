"""`verify`: does a pinned deployment hold on this machine?

In this order, so that nothing is believed that was not checked: the signature, the manifest, the file, the memory,
the engine, a short bench, and last whether the file is still the one that was hashed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import msgspec

from advisor.catalog import load_catalog
from advisor.errors import AdvisorError, InvalidInputError
from advisor.evidence import Value
from advisor.held_file import HeldFile
from advisor.identify import ModelFile, identify
from advisor.manifest import FILE_NAME, DeploymentManifest, Speeds, decode_manifest, read_manifest_bytes
from advisor.signing import BadSignatureError, signature_path, verify_signature
from advisor.target import Target
from advisor.verify_checks import Check, Status, fidelity_checks, license_checks, speed_checks, verdict
from advisor.verify_estimate import Estimated, budget_check, estimate, memory_checks
from advisor.verify_run import run, run_settings
from profiles.engine.client import Engine
from profiles.engine.protocol import EngineFailure, EngineVersion, MemoryQuestion
from profiles.errors import EngineError
from profiles.throughput import KV_TYPES, RunSettings
from quantize.errors import QuantizeError

Mode = Literal["run", "estimate"]


class VerifyPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to verify and how. `file` None: beside the manifest, by its pinned name."""

    manifest: Path
    file: Path | None = None
    run: bool = True
    strict: bool = True
    public_key: Path | None = None
    signature: Path | None = None


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `mode` estimate: nothing was run. `deployment` is null for a manifest that is not believed."""

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
    notes: tuple[str, ...] = ()


def verify(
    plan: VerifyPlan,
    target_of: Callable[[DeploymentManifest], Target],
    progress: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Hold this machine against a manifest; `target_of` makes the target of its workload.

    Raises InvalidManifestError for a manifest that cannot be read or was changed, InvalidInputError for a key that
    is none, ComponentMissingError. What does not hold is a failed check and no error.
    """
    believed = believe(plan)
    if isinstance(believed, Verification):
        return believed
    manifest, checks = believed
    target = target_of(manifest)
    notes: list[str] = []
    with ExitStack() as stack:
        held, file = _check_file(plan, manifest_path(plan).parent, manifest, checks, stack, progress)
        same_file = all(check.status == "pass" for check in checks if check.id in ("file", "sha256"))
        if manifest.file is None:
            same_file = False
        estimated = estimate(manifest, file, target)
        engine_name, measured, problem, missing = None, None, "", False
        if not plan.run:
            checks += memory_checks(estimated, target, None)
        elif held is None or (not same_file and manifest.file is not None):
            checks += memory_checks(estimated, target, None)
            problem = "nothing was run, since there is no file that may be run"
            checks.append(Check(id="run", title="Loads and answers", status="unknown", message=problem))
        else:
            engine_name, measured, problem, missing = _run(
                plan, manifest, held, file, estimated, target, checks, notes, progress
            )
        if held is not None and (change := held.change()) is not None:
            message = f"{held.path.name} {change} while it was verified"
            checks.append(Check(id="unchanged", title="File unchanged", status="fail", message=message))
        elif held is not None:
            checks.append(Check(id="unchanged", title="File unchanged", status="pass"))
    speeds = measured if measured is not None and measured.tg_tokens_per_s else None
    if speeds is None and not problem:
        speeds = estimated.speeds
    why = problem or estimated.problem or "it was neither measured nor estimated"
    checks += speed_checks(manifest.requires, speeds, why)
    if manifest.requires.max_memory_bytes is not None:
        checks.append(budget_check(manifest, measured, estimated))
    checks += fidelity_checks(manifest, same_file=same_file)
    checks += license_checks(manifest)
    return verification(
        plan,
        manifest,
        target,
        checks,
        mode="run" if measured is not None else "estimate",
        engine=engine_name,
        engine_missing=missing,
        measured=measured,
        estimated=estimated.speeds,
        notes=tuple(notes),
    )


def manifest_path(plan: VerifyPlan) -> Path:
    return plan.manifest / FILE_NAME if plan.manifest.is_dir() else plan.manifest


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
) -> Verification:
    """The answer: its verdict and exit code follow from the checks."""
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
        notes=notes,
    )


# --- the file -------------------------------------------------------------------------------------------------


def _check_file(
    plan: VerifyPlan,
    folder: Path,
    manifest: DeploymentManifest,
    checks: list[Check],
    stack: ExitStack,
    progress: Callable[[str], None],
) -> tuple[HeldFile | None, ModelFile | None]:
    """Size, hash, tensors and model of the file; None where there is none, or it is no model."""
    pinned = manifest.file
    path = plan.file or (None if pinned is None else folder / pinned.name)
    if path is None:
        message = "it was pinned before there was a file: pin it again with one, or give --file"
        checks.append(Check(id="file", title="File", status="unknown", message=message))
        return None, None
    try:
        held = stack.enter_context(HeldFile(path))
    except InvalidInputError as error:
        checks.append(Check(id="file", title="File", status="fail", message=str(error)))
        return None, None
    if pinned is None:
        message = "it was pinned before there was a file, so its hash is not known"
        checks.append(Check(id="sha256", title="SHA-256", status="unknown", message=message))
    elif held.size_bytes != pinned.bytes:
        message = f"{path.name} has {held.size_bytes:,} bytes, {pinned.bytes:,} are pinned"
        checks.append(Check(id="file", title="File", status="fail", message=message))
    else:
        checks.append(Check(id="file", title="File", status="pass", found=f"{pinned.bytes:,} bytes"))
        progress("hashing the file")
        checks.append(_hash_check(held, pinned.sha256))
    try:
        file = identify(path, load_catalog())
    except (QuantizeError, AdvisorError) as error:
        checks.append(Check(id="tensors", title="Tensors", status="fail", message=str(error)))
        return held, None
    checks.append(_tensor_check(file, manifest))
    checks.append(_model_check(file, manifest))
    return held, file


def _hash_check(held: HeldFile, pinned: str) -> Check:
    check = Check(id="sha256", title="SHA-256", status="pass", required=pinned, found=pinned)
    try:
        found = held.sha256()
    except OSError as error:
        message = f"{held.path} cannot be read: {error.strerror or error}"
        return msgspec.structs.replace(check, status="fail", found=None, message=message)
    if found == pinned:
        return check
    return msgspec.structs.replace(
        check, status="fail", found=found, message="another file than the pinned one, or a damaged copy of it"
    )


def _tensor_check(file: ModelFile, manifest: DeploymentManifest) -> Check:
    """Types and bytes of the tensors, by the header."""
    found, pinned = file.variant.bytes_by_type, manifest.bytes_by_type
    wrong = [
        f"{kind}: {found.get(kind, 0):,} bytes, pinned {pinned.get(kind, 0):,}"
        for kind in sorted(found.keys() | pinned.keys())
        if found.get(kind, 0) != pinned.get(kind, 0)
    ]
    return Check(
        id="tensors",
        title="Tensors",
        status="fail" if wrong else "pass",
        message="; ".join(wrong[:3]),
        found=", ".join(sorted(found)),
    )


def _model_check(file: ModelFile, manifest: DeploymentManifest) -> Check:
    """The model that the header names; where it names none, one of the same number of parameters may be it."""
    check = Check(id="model", title="Model", status="pass", required=manifest.model.id)
    if file.model is not None and file.model.id == manifest.model.id:
        return msgspec.structs.replace(check, found=file.model.id)
    if file.model is not None:
        message = f"the header is of {file.model.name}"
        return msgspec.structs.replace(check, status="fail", found=file.model.id, message=message)
    message = "the header names no model of the catalog"
    return msgspec.structs.replace(check, status="unknown", message=message)


# --- the run --------------------------------------------------------------------------------------------------


def _run(
    plan: VerifyPlan,
    manifest: DeploymentManifest,
    held: HeldFile,
    file: ModelFile | None,
    estimated: Estimated,
    target: Target,
    checks: list[Check],
    notes: list[str],
    progress: Callable[[str], None],
) -> tuple[str | None, Speeds | None, str, bool]:
    """Engine, what was measured, why no speed was, and whether the engine is missing. Adds its checks and notes."""
    from profiles.engine.fit import gpu_backends

    settings = run_settings(manifest.settings, manifest.backend)
    with Engine() as engine:
        version = engine.version()
        if isinstance(version, EngineFailure):
            missing = version.kind == "missing"
            status: Status = "unknown" if missing else "fail"
            checks.append(Check(id="engine", title="Engine", status=status, message=version.message))
            checks += memory_checks(estimated, target, None)
            return None, None, "nothing was run: the engine gave no answer", missing
        name = f"llama-cpp-python {version.package}"
        if manifest.engine is not None and not manifest.engine.startswith(f"{name} "):
            notes.append(f"pinned with {manifest.engine}, and here is {name}")
        if settings.gpu_layers and manifest.backend not in gpu_backends(version):
            message = f"it was pinned to run by {manifest.backend}, which this engine does not drive"
            checks.append(Check(id="engine", title="Engine", status="fail", message=message, found=name))
            checks += memory_checks(estimated, target, None)
            return name, None, "nothing was run: the engine does not drive the accelerator", False
        checks.append(Check(id="engine", title="Engine", status="pass", found=_words(version)))
        before = memory_checks(estimated, target, _asked(engine, held, manifest, file, settings, estimated))
        if verdict(tuple(before)) == "fail":
            checks += before
            problem = "nothing was run: it does not fit into the memory there is now"
            checks.append(Check(id="run", title="Loads and answers", status="unknown", message=problem))
            return name, None, problem, False
        progress("loading and timing")
        try:
            ran = run(
                engine,
                held.load_path,
                settings,
                manifest.workload,
                manifest.settings.context_length,
                strict=plan.strict,
            )
        except EngineError as error:
            checks += before
            status = "unknown" if error.failure.kind == "timeout" else "fail"
            message = str(error).replace(str(held.load_path), held.path.name)
            checks.append(Check(id="run", title="Loads and answers", status=status, message=message))
            return name, None, f"the run failed: {message}", False
    peak = ran.speeds.memory_bytes
    # It fitted, since it ran: what was resident says more than the estimate.
    checks += memory_checks(estimated, target, peak if manifest.backend == "cpu" else None)
    checks.append(Check(id="run", title="Loads and answers", status="pass"))
    notes += ran.notes
    return name, ran.speeds, ran.problem or "", False


def _words(version: EngineVersion) -> str:
    return f"llama-cpp-python {version.package}" + (f" ({version.commit})" if version.commit else "")


def _asked(
    engine: Engine,
    held: HeldFile,
    manifest: DeploymentManifest,
    file: ModelFile | None,
    settings: RunSettings,
    estimated: Estimated,
) -> Value | None:
    """What the engine itself says it would allocate on the host, with the estimate's overhead. Only for a CPU."""
    if settings.gpu_layers or file is None or estimated.memory is None:
        return None
    report = engine.memory(
        MemoryQuestion(
            str(held.load_path),
            manifest.settings.context_length,
            n_ubatch=settings.n_ubatch,
            n_batch=settings.n_batch,
            type_k=KV_TYPES[settings.type_k],
            type_v=KV_TYPES[settings.type_v],
            flash_attention=settings.flash_attention,
        )
    )
    if isinstance(report, EngineFailure):
        return None
    memory = estimated.memory
    own = report.kv_cache_bytes + report.state_bytes + report.compute_bytes + report.output_bytes
    total = float(file.variant.tensor_bytes + own + memory.overhead_bytes)
    # The interval is the estimate's; only what the engine knows exactly has moved.
    shift = total - memory.reserved_bytes
    return Value(total, min(total, memory.host_low_bytes + shift), max(total, memory.host_high_bytes + shift))
