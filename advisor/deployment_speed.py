"""The speed of a deployment on a target: the estimate, and what was measured there in its place."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from advisor.catalog import Variant
from advisor.evidence import Evidence, Value
from advisor.load import Load, make_load
from advisor.measured_speed import with_measurements
from advisor.measurements import FlashChoice
from advisor.memory import Settings
from advisor.speed import SpeedEstimate, estimate_speed
from advisor.target import Place, Target
from quantize.architecture import Architecture

_FLASH: dict[FlashChoice, bool | None] = {"auto": None, "on": True, "off": False}


def deployment_speed(
    arch: Architecture,
    load: Load,
    bytes_by_type: Mapping[str, int],
    target: Target,
    place: Place,
    settings: Settings,
    *,
    n_prompt: int,
    n_gen: int,
    depth: int = 0,
    flash_attention: FlashChoice = "auto",
) -> SpeedEstimate | None:
    """The speed of a load with these settings at a place; measurements of the target count. Pure.

    None where the bandwidth of a processor that is needed is not known.
    """
    share, host = 1.0, None
    if place.processor.accelerator is not None:
        share = min(1.0, settings.offload_layers / (arch.n_layer + 1))
        host = target.cpu if share < 1 else None

    def speed_at(n_prompt: int, n_gen: int, depth: int) -> SpeedEstimate | None:
        return estimate_speed(
            place.processor,
            load,
            n_prompt=n_prompt,
            n_gen=n_gen,
            depth=depth,
            threads=settings.threads,
            threads_batch=settings.threads_batch,
            offload_fraction=share,
            host=host,
            micro_batch=settings.micro_batch,
            flash_attention=_FLASH[flash_attention],
        )

    estimate = speed_at(n_prompt, n_gen, depth)
    if estimate is None or not target.known_speeds:
        return estimate
    return with_measurements(
        estimate,
        target.known_speeds.of(arch, bytes_by_type),
        speed_at,
        settings,
        backend=place.processor.backend,
        n_layer=arch.n_layer,
        n_prompt=n_prompt,
        n_gen=n_gen,
        depth=depth,
        flash_attention=flash_attention,
    )


def predict_for(
    arch: Architecture,
    variant: Variant,
    target: Target,
    place: Place,
    settings: Settings,
    *,
    grade: Evidence,
    n_prompt: int,
    n_gen: int,
    depth: int = 0,
    flash_attention: FlashChoice = "auto",
) -> tuple[Value | None, Value | None]:
    """(pp, tg) as they would have been estimated before a result of `grade` was there: for the ledger.

    Only worse grades count: a second bench is not predicted by the first, or the ledger would praise itself. pp is
    None for a test without a prompt, tg for one that generates nothing, both where no speed can be estimated.
    """
    load = make_load(
        arch,
        variant.read_bytes_by_type,
        variant.output_bytes,
        variant.tensor_bytes - (0 if arch.tied else variant.embedding_bytes),
        settings.type_k,
        settings.type_v,
    )
    before = msgspec.structs.replace(target, known_speeds=target.known_speeds.worse_than(grade))
    speed = deployment_speed(
        arch,
        load,
        variant.bytes_by_type,
        before,
        place,
        settings,
        n_prompt=n_prompt,
        n_gen=n_gen,
        depth=depth,
        flash_attention=flash_attention,
    )
    if speed is None:
        return None, None
    return speed.pp if n_prompt else None, speed.tg if n_gen else None
