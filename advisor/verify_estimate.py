"""What `verify` estimates: memory and speed of a pinned deployment on a target, and the memory against its budgets."""

from __future__ import annotations

import msgspec

from advisor.catalog import Variant, load_catalog
from advisor.errors import AdvisorError, InvalidInputError
from advisor.estimate import choose_place
from advisor.evidence import Value
from advisor.identify import ModelFile
from advisor.manifest import DeploymentManifest, Speeds
from advisor.memory import MemoryEstimate, Settings, estimate_memory
from advisor.target import Place, Target
from advisor.verify_checks import Check, limit
from advisor.workload import Workload
from quantize.architecture import Architecture
from quantize.errors import QuantizeError
from quantize.types import parse_preset


class Estimated(msgspec.Struct, frozen=True, kw_only=True):
    """`problem` says why there is no memory, or no speed."""

    speeds: Speeds
    memory: MemoryEstimate | None = None
    place: Place | None = None
    problem: str = ""


def workload_of(manifest: DeploymentManifest) -> Workload:
    """The pinned workload on the memory there is now, whatever the deployment was chosen by: a budget is a requirement
    of its own.
    """
    return msgspec.structs.replace(manifest.workload, budget=None, memory_budget_bytes=None)


def estimate(manifest: DeploymentManifest, file: ModelFile | None, target: Target) -> Estimated:
    """Memory and speed on the target; `problem` says why there are none."""
    from advisor.deployment_speed import deployment_speed
    from advisor.load import make_load

    workload, pinned = manifest.workload, manifest.settings
    none = Speeds(n_prompt=workload.prompt_tokens, n_gen=workload.answer_tokens)
    try:
        place = choose_place(target, manifest.backend)
        arch, variant = _subject(manifest, file)
    except (AdvisorError, QuantizeError) as error:
        return Estimated(speeds=none, problem=str(error))
    settings = Settings(
        context_length=pinned.context_length,
        type_k=pinned.type_k,
        type_v=pinned.type_v,
        micro_batch=pinned.micro_batch,
        offload_layers=pinned.offload_layers,
        threads=pinned.threads or place.processor.threads,
        threads_batch=pinned.threads_batch,
    )
    memory = estimate_memory(arch, variant, settings, backend=place.processor.backend)
    speed = deployment_speed(
        arch,
        make_load(
            arch,
            variant.read_bytes_by_type,
            variant.output_bytes,
            variant.tensor_bytes - (0 if arch.tied else variant.embedding_bytes),
            settings.type_k,
            settings.type_v,
        ),
        variant.bytes_by_type,
        target,
        place,
        settings,
        n_prompt=workload.prompt_tokens,
        n_gen=workload.answer_tokens,
        flash_attention=pinned.flash_attention,
    )
    speeds = msgspec.structs.replace(none, memory_bytes=memory.reserved)
    if speed is None:
        problem = "the bandwidth of the processor is not known, so no speed can be estimated"
        return Estimated(speeds=speeds, memory=memory, place=place, problem=problem)
    speeds = msgspec.structs.replace(
        speeds, pp_tokens_per_s=speed.pp, tg_tokens_per_s=speed.tg, ttft_s=speed.ttft_s
    )
    return Estimated(speeds=speeds, memory=memory, place=place)


def _subject(manifest: DeploymentManifest, file: ModelFile | None) -> tuple[Architecture, Variant]:
    """Dimensions and sizes: the file's own, else the catalog's. Raises UnknownModelError, QuantizeError."""
    if file is not None:
        return file.architecture, file.variant
    model = load_catalog().find(manifest.model.id)
    if model.architecture is None:
        raise InvalidInputError(f"the dimensions of {model.name} are not known")
    return model.architecture, model.variant(parse_preset(manifest.variant))


def memory_checks(estimated: Estimated, target: Target, found: Value | None) -> list[Check]:
    """What it takes against the memory there is now, `found` in place of the estimate of the host's part."""
    memory, place = estimated.memory, estimated.place
    if memory is None or place is None:
        message = estimated.problem
        return [Check(id="memory", title="Memory there now", status="unknown", message=message)]
    checks = []
    on_card = place.processor.accelerator is not None
    own = Value(memory.accelerator_bytes, memory.accelerator_low_bytes, memory.accelerator_high_bytes)
    if on_card and place.memory_bytes is not None:
        checks.append(
            limit("accelerator-memory", "Accelerator memory", "at most", place.memory_bytes, own, "bytes")
        )
    host = found or (
        memory.reserved
        if place.shared or not on_card
        else Value(memory.host_bytes, memory.host_low_bytes, memory.host_high_bytes)
    )
    if target.host_bytes is None:
        message = "the memory of this device is not known"
        checks.append(Check(id="memory", title="Memory there now", status="unknown", message=message))
    else:
        checks.append(limit("memory", "Memory there now", "at most", target.host_bytes, host, "bytes"))
    return checks


def budget_check(manifest: DeploymentManifest, measured: Speeds | None, estimated: Estimated) -> Check:
    """The memory budget against what the process had resident; on a card, against the estimate of both parts."""
    found = estimated.speeds.memory_bytes
    if measured is not None and measured.memory_bytes is not None and manifest.backend == "cpu":
        found = measured.memory_bytes
    most = manifest.requires.max_memory_bytes
    assert most is not None
    field = "max_memory_bytes"
    return limit("memory-budget", "Memory budget", "at most", most, found, "bytes", requirement=field)
