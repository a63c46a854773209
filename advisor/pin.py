"""From what was recommended, built or run to a deployment manifest.

    found = with_build(find_model(model, "Q4_K_M", target, workload, here=True), build, folder)
    manifest = make_manifest(found, requires, tool_version=…, catalog_version=…)

The settings and the prediction are those of `recommend` for the workload on the device; what was measured, and the
file's hash, are carried over from where they were found out.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from advisor.catalog import Model, load_catalog
from advisor.errors import InvalidInputError, NothingFitsError
from advisor.evidence import Value
from advisor.gate import Limits
from advisor.identify import ModelFile, identify
from advisor.language import _
from advisor.manifest import (
    DeploymentManifest,
    PinnedDevice,
    PinnedModel,
    PinnedSettings,
    Requirements,
    Speeds,
)
from advisor.measurements import now
from advisor.report.bench_documents import BenchDocument, BenchRunView
from advisor.report.documents import DeploymentView, RecommendationDocument
from advisor.target import Target
from advisor.workload import Workload
from profiles.device import Backend
from profiles.fingerprint import fingerprint
from quantize.errors import InvalidModelError
from quantize.manifest import FileNote
from quantize.manifest import Manifest as BuildManifest


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment, and all that is known of it. `folder` is where its file lies, None where there is none yet."""

    deployment: DeploymentView
    workload: Workload
    device: PinnedDevice
    bytes_by_type: dict[str, int]
    settings: PinnedSettings | None = None  # where it was run with others than those recommended
    file: FileNote | None = None
    folder: Path | None = None
    build: BuildManifest | None = None
    measured: Speeds | None = None
    backend: str | None = None  # likewise
    engine: str | None = None
    notes: tuple[str, ...] = ()


def make_manifest(
    found: Found, requires: Requirements, *, tool_version: str, catalog_version: str
) -> DeploymentManifest:
    """The manifest of a deployment that must hold `requires`. Pure but for the time it is pinned at."""
    view, build = found.deployment, found.build
    return DeploymentManifest(
        tool_version=tool_version,
        catalog_version=catalog_version,
        pinned_at=now(),
        model=PinnedModel(
            id=view.model,
            name=view.name,
            family=view.family,
            parameters=view.parameters,
            license=view.license or (build.model.license if build else None),
            license_class=view.license_class,
        ),
        variant=view.quant,
        file=found.file,
        bytes_by_type=found.bytes_by_type,
        source=None if build is None else msgspec.structs.replace(build.source, path=None),
        recipe=None if build is None else build.recipe,
        backend=msgspec.convert(found.backend or view.backend, Backend),
        settings=found.settings or _settings(view),
        engine=found.engine,
        device=found.device,
        workload=found.workload,
        predicted=_predicted(view, found.workload),
        measured=found.measured,
        fidelity=None if build is None else build.fidelity,
        requires=requires,
        notes=found.notes,
    )


def requirements(workload: Workload, fidelity: Limits, min_pp_tokens_per_s: float | None) -> Requirements:
    """What the workload asks for, and what is asked beside it. A floor of 0 asks for nothing."""
    return Requirements(
        max_memory_bytes=workload.memory_budget_bytes,
        min_pp_tokens_per_s=min_pp_tokens_per_s,
        min_tg_tokens_per_s=workload.min_tg_tokens_per_s or None,
        max_ttft_s=workload.max_ttft_s or None,
        fidelity=fidelity,
        licenses=workload.licenses,
    )


def find_recommended(document: RecommendationDocument, rank: int, name: str) -> Found:
    """The deployment at `rank` of what `recommend --json` printed; `name` is what messages call the document.

    Raises InvalidInputError for a rank that it does not have.
    """
    for view in document.recommendations:
        if view.rank == rank:
            break
    else:
        raise InvalidInputError(
            f"{name} has {len(document.recommendations)} deployments, and none of rank {rank}"
        )
    model = load_catalog().find(view.model)
    return Found(
        deployment=view,
        workload=document.workload,
        device=PinnedDevice(name=document.device.name, class_=document.device.class_),
        bytes_by_type=dict(model.variant(view.quant).bytes_by_type),
    )


def find_model(model: Model, quant: str, target: Target, workload: Workload, *, here: bool) -> Found:
    """The best deployment of a variant on a target, which is this machine where `here` is true.

    Raises NothingFitsError, with every reason, where it does not fit.
    """
    from advisor.explain import describe, explain
    from advisor.report.view import deployment_view

    explanation = explain(model, quant, target, workload)
    candidate = explanation.candidate
    if candidate is None or explanation.shortfalls:
        reasons = "; ".join(describe(shortfall) for shortfall in explanation.shortfalls)
        changes = "".join(f"\n  it would fit with {change.message}" for change in explanation.changes)
        raise NothingFitsError(f"{model.name}:{quant} cannot be pinned for this device: {reasons}" + changes)
    device = target.device
    return Found(
        deployment=deployment_view(candidate, target, workload),
        workload=workload,
        device=PinnedDevice(
            name=device.name, class_=device.class_, fingerprint=fingerprint(device) if here else None
        ),
        bytes_by_type=dict(candidate.variant.bytes_by_type),
    )


def with_build(found: Found, build: BuildManifest, folder: Path) -> Found:
    """The deployment with the file that was built for it. Raises InvalidModelError where that is not there."""
    (file, *more) = build.files
    if more or build.recipe.method == "gptq":
        raise InvalidInputError(
            f"{folder} holds a GPTQ checkpoint, which the engine does not run: only a GGUF can be pinned and verified"
        )
    path = folder / file.name
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InvalidModelError(
            f"{path}, which the build's manifest names, is not there: {error.strerror}"
        ) from error
    if size != file.bytes:
        raise InvalidModelError(
            f"{path} has {size:,} bytes, and {file.bytes:,} when it was built: build it again"
        )
    found = msgspec.structs.replace(
        found, build=build, file=file, folder=folder, bytes_by_type=build.bytes_by_type
    )
    return found if build.bench is None else with_bench(found, msgspec.convert(build.bench, BenchDocument))


def variant_file(path: Path) -> ModelFile:
    """A file of a variant of a catalog model; reads its header only.

    Raises InvalidInputError for one of no model or with types of its own, and what `identify` raises.
    """
    file = identify(path, load_catalog())
    if file.model is None or file.preset is None:
        raise InvalidInputError(
            _(
                "{path} is no variant of a catalog model: {label} has dimensions or tensor types of its own"
            ).format(path=path, label=file.label)
        )
    return file


def with_file(found: Found, file: ModelFile, sha256: str) -> Found:
    """The deployment with a file of its variant."""
    path = file.path
    note = FileNote(name=path.name, bytes=path.stat().st_size, sha256=sha256)
    return msgspec.structs.replace(
        found, file=note, folder=path.parent, bytes_by_type=dict(file.variant.bytes_by_type)
    )


def with_bench(found: Found, bench: BenchDocument) -> Found:
    """The deployment with the settings it was run with, and what was measured.

    Raises InvalidInputError where the document has no run, or several with different settings.
    """
    if len(bench.runs) != 1:
        raise InvalidInputError(
            f"the bench of {bench.file.path} has {len(bench.runs)} runs with different settings: "
            "pin needs one; run it again with the settings to deploy"
        )
    (run,) = bench.runs
    ran = run.settings
    settings = msgspec.structs.replace(
        _settings(found.deployment),
        type_k=ran.type_k,
        type_v=ran.type_v,
        micro_batch=ran.micro_batch,
        offload_layers=ran.offload_layers,
        threads=ran.threads,
        threads_batch=ran.threads_batch,
        flash_attention=ran.flash_attention,
    )
    return msgspec.structs.replace(
        found,
        settings=settings,
        file=found.file or _benched_file(bench),
        device=msgspec.structs.replace(found.device, fingerprint=bench.fingerprint),
        backend=bench.backend,
        engine=bench.engine,
        measured=_measured(run),
    )


def _benched_file(bench: BenchDocument) -> FileNote | None:
    file = bench.file
    if file.sha256 is None:
        return None
    return FileNote(name=Path(file.path).name, bytes=file.file_bytes, sha256=file.sha256)


def _settings(view: DeploymentView) -> PinnedSettings:
    return PinnedSettings(**msgspec.structs.asdict(view.settings))


def _predicted(view: DeploymentView, workload: Workload) -> Speeds:
    return Speeds(
        n_prompt=workload.prompt_tokens,
        n_gen=workload.answer_tokens,
        pp_tokens_per_s=view.pp_tokens_per_s,
        tg_tokens_per_s=view.tg_tokens_per_s,
        ttft_s=view.ttft_s,
        memory_bytes=view.memory.reserved_bytes,
    )


def _measured(run: BenchRunView) -> Speeds | None:
    """The first test of each kind, at the depth of the first of all."""
    depth = run.rates[0].depth if run.rates else 0
    here = [rate for rate in run.rates if rate.depth == depth]
    pp = next((rate for rate in here if not rate.n_gen), None)
    tg = next((rate for rate in here if not rate.n_prompt), None)
    first = run.first_token if run.first_token and run.first_token.depth == depth else None
    peak = run.peak_resident_bytes
    if pp is None and tg is None:
        return None
    return Speeds(
        n_prompt=None if pp is None else pp.n_prompt,
        n_gen=None if tg is None else tg.n_gen,
        depth=depth,
        pp_tokens_per_s=None if pp is None else pp.tokens_per_s,
        tg_tokens_per_s=None if tg is None else tg.tokens_per_s,
        ttft_s=first.ttft_s if first and pp and first.n_prompt == pp.n_prompt else None,
        memory_bytes=None if peak is None else Value(peak, peak, peak, "measured"),
    )
