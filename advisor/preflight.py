"""What a build will need, from the model's size and this device, before anything is downloaded.

Memory and disk follow from the sizes; for conversion and for GPTQ, those who do it have plans. Time is estimated
stage by stage: reading a text from the speed of prompts here, quantizing from how fast the engine packs a few blocks
of each type here. What depends on the connection or on a disk that nobody has measured is left open.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from advisor.catalog import Model
from advisor.conversion_need import ConversionNeed, ConverterNeed, conversion_need
from advisor.deployment_speed import predict_for
from advisor.estimate import choose_place, make_settings
from advisor.memory import estimate_memory
from advisor.target import Place, Target
from profiles.engine.client import Engine
from profiles.text import amount
from profiles.throughput import require
from quantize.build import Order
from quantize.build_gptq import GptqOrder
from quantize.build_steps import Stage
from quantize.convert import require_network
from quantize.errors import NoRoomError, TooLittleMemoryError
from quantize.fidelity import CONTEXT, ROWS_AT_ONCE, free_bytes
from quantize.gguf import ExpectedTensor
from quantize.gptq import GptqPlan
from quantize.gptq_fidelity import comparing_bytes
from quantize.room import existing, room, same_disk
from quantize.sources.settings import hub_settings
from quantize.types import TENSOR_TYPES

_SAMPLED_BLOCKS = 1021
_PACKED_BY_COPYING = frozenset({"F32", "F16", "BF16"})
_BYTES_PER_TOKEN = (3.0, 4.5)  # of a text of prose and code, with vocabularies of 49,152 and 262,144 tokens
_QUANTIZE_FACTOR = (0.8, 2.0)  # real weights and importance against the sample; reading and writing
_PROCESS_BYTES = 150_000_000  # of a worker: Python, the engine, its threads
_IMATRIX_BYTES = 32 << 20
_GPTQ_FACTOR = (0.5, 2.0)  # as rough as `plan_gptq` says it is
_KEPT_FREE = 64 << 20  # that a disk keeps for others


class Span(msgspec.Struct, frozen=True):
    """Seconds: the likeliest, and the ends of the range that four of five builds fall into."""

    value: float
    low: float
    high: float


class StageNeed(msgspec.Struct, frozen=True, kw_only=True):
    """One stage. `seconds` None: that cannot be told before; `memory_bytes` at its peak, without the page cache."""

    stage: Stage
    seconds: Span | None
    memory_bytes: int


class Preflight(msgspec.Struct, frozen=True, kw_only=True):
    """What all stages need together. Disk is counted where it is needed: the Hub's cache, and the build's folder.

    `converter` is None where it is installed, or the build does without.
    """

    stages: tuple[StageNeed, ...]
    download_bytes: int
    cache: str | None
    cache_free_bytes: int | None
    disk_bytes: int
    disk_free_bytes: int
    result_bytes: int
    memory_bytes: int
    memory_free_bytes: int | None
    converter: ConverterNeed | None = None

    @property
    def seconds(self) -> Span | None:
        """Of the stages whose time can be told."""
        known = [need.seconds for need in self.stages if need.seconds is not None]
        if not known:
            return None
        return Span(*(sum(getattr(one, name) for one in known) for name in ("value", "low", "high")))


def preflight(order: Order, model: Model, target: Target, engine: Engine) -> Preflight:
    """What the build of `order` needs on the device of `target`. Takes about a second.

    Raises EngineError, ConversionError and InvalidModelError for a source that cannot be converted, and
    ConverterInstallError where there is no place for the converter.
    """
    result = sum(tensor.bytes for tensor in order.expected.values())
    conversion = None
    if order.source.kind == "safetensors":
        assert model.architecture is not None  # or there would be no tensors to expect
        conversion = conversion_need(order, model.architecture)
    return _needs(
        tuple(_stages(order, model, target, engine, conversion)),
        order,
        disk_bytes=(conversion.result_bytes if conversion else 0)
        + result
        + (_IMATRIX_BYTES if order.has_imatrix else 0),
        result_bytes=result,
        converter=conversion.converter if conversion else None,
    )


def preflight_gptq(order: GptqOrder, plan: GptqPlan) -> Preflight:
    """What the build of `order` needs, by the plan of its quantization."""
    low, high = _GPTQ_FACTOR
    seconds = Span(plan.seconds, low * plan.seconds, high * plan.seconds)
    stages = [
        StageNeed(stage="source", seconds=None, memory_bytes=_PROCESS_BYTES),
        StageNeed(stage="quantize", seconds=seconds, memory_bytes=plan.memory_bytes),
    ]
    if order.fidelity_text is not None:
        memory = comparing_bytes(order.parameters, plan.checkpoint_bytes, plan.vocabulary)
        stages.append(StageNeed(stage="fidelity", seconds=None, memory_bytes=memory))
    return _needs(tuple(stages), order, disk_bytes=plan.disk_bytes, result_bytes=plan.checkpoint_bytes)


def _needs(
    stages: tuple[StageNeed, ...],
    order: Order | GptqOrder,
    *,
    disk_bytes: int,
    result_bytes: int,
    converter: ConverterNeed | None = None,
) -> Preflight:
    """The stages, what their source still has to bring, and what is free where the build writes."""
    cache = hub_settings().cache if order.source.origin == "hub" else None
    return Preflight(
        stages=stages,
        download_bytes=order.source.download_bytes,
        cache=str(cache) if cache else None,
        cache_free_bytes=room(cache) if cache else None,
        disk_bytes=disk_bytes,
        disk_free_bytes=room(order.target.parent),
        result_bytes=result_bytes,
        memory_bytes=max(need.memory_bytes for need in stages),
        memory_free_bytes=free_bytes(),
        converter=converter,
    )


def check_preflight(needs: Preflight, order: Order | GptqOrder) -> None:
    """Raise NoRoomError or TooLittleMemoryError for a build that would run into a wall.

    Raises ConverterDownloadError where the converter is missing and the network forbidden.
    """
    _check_room(needs, existing(order.target.parent))
    if needs.converter is not None:
        require_network()
    free = needs.memory_free_bytes
    if free is None:
        return
    for need in needs.stages:
        if need.memory_bytes > free:
            ways = {"imatrix": "--no-imatrix does without it", "fidelity": "--no-fidelity does without it"}
            raise TooLittleMemoryError(
                f"the stage '{need.stage}' needs {amount(need.memory_bytes, up=True)} of memory, {amount(free)} are "
                f"free: close other programs{'; ' + ways[need.stage] if need.stage in ways else ''}"
            )


class _Claim(NamedTuple):
    """What takes room, where, how much of how much, and how to put it elsewhere."""

    what: str
    folder: Path
    bytes: int
    free_bytes: int
    way: str


def _check_room(needs: Preflight, out: Path) -> None:
    """Hold each disk against all that goes to it. Raises NoRoomError."""
    claims = [_Claim("the build", out, needs.disk_bytes, needs.disk_free_bytes, "give --out")]
    if needs.cache is not None and needs.cache_free_bytes is not None and needs.download_bytes:
        cache, free = Path(needs.cache), needs.cache_free_bytes
        claims.append(_Claim("the download", cache, needs.download_bytes, free, "set HF_HOME to a folder"))
    if (new := needs.converter) is not None:
        folder, size = Path(new.folder), new.download_bytes + new.disk_bytes
        claims.append(
            _Claim("the converter", folder, size, new.disk_free_bytes, "set XDG_DATA_HOME to a folder")
        )
    for claim in claims:
        needed = _KEPT_FREE + sum(one.bytes for one in claims if same_disk(one.folder, claim.folder))
        if needed > claim.free_bytes:
            raise NoRoomError(
                f"{claim.what} needs {amount(needed, up=True)} in {claim.folder}, which has "
                f"{amount(claim.free_bytes)} free; free some, or {claim.way} on another disk"
            )


def _stages(
    order: Order, model: Model, target: Target, engine: Engine, conversion: ConversionNeed | None
) -> list[StageNeed]:
    largest = max(tensor.elements for tensor in order.expected.values())
    needs = [StageNeed(stage="source", seconds=None, memory_bytes=_PROCESS_BYTES)]
    if order.ready:
        return [*needs, StageNeed(stage="check", seconds=Span(0.1, 0.05, 1.0), memory_bytes=_PROCESS_BYTES)]
    if conversion is not None:
        if conversion.converter is not None:
            memory = conversion.converter.memory_bytes
            needs.append(StageNeed(stage="converter", seconds=None, memory_bytes=memory))
        needs.append(StageNeed(stage="convert", seconds=None, memory_bytes=conversion.memory_bytes))
    place = choose_place(target, "cpu")
    if order.calibration_text is not None:
        reading = _reading(order, model, target, place, order.calibration_text, ("F16",))
        memory = _running(model, place, "F16", CONTEXT)
        needs.append(StageNeed(stage="imatrix", seconds=reading, memory_bytes=memory))
    needs.append(
        StageNeed(
            stage="quantize",
            seconds=_quantizing(order.expected, target, engine, order.threads),
            # The tensor as floats, as the source has it and as it becomes.
            memory_bytes=_PROCESS_BYTES + 8 * largest,
        )
    )
    if order.fidelity_text is not None:
        both = ("F16", order.recipe.preset)
        reading = _reading(order, model, target, place, order.fidelity_text, both)
        memory = sum(_running(model, place, quant, ROWS_AT_ONCE) for quant in both)
        needs.append(StageNeed(stage="fidelity", seconds=reading, memory_bytes=memory))
    return needs


def _reading(
    order: Order, model: Model, target: Target, place: Place, text: Path, quants: tuple[str, ...]
) -> Span | None:
    """To process the text, in chunks, with the model at each of these quantizations."""
    arch = model.architecture
    assert arch is not None
    most, fewest = (text.stat().st_size / size for size in _BYTES_PER_TOKEN)
    totals = [0.0, 0.0, 0.0]
    for quant in quants:
        settings = make_settings(place, model, context_length=CONTEXT, threads=order.threads)
        pp, _ = predict_for(
            arch,
            model.variant(quant),
            target,
            place,
            settings,
            grade="measured",
            n_prompt=CONTEXT,
            n_gen=0,
        )
        if pp is None:
            return None
        totals[0] += math.sqrt(most * fewest) / pp.value
        totals[1] += fewest / pp.high
        totals[2] += most / pp.low
    return Span(*totals)


def _running(model: Model, place: Place, quant: str, micro_batch: int) -> int:
    """Memory of the model that reads a chunk: weights, cache and buffers."""
    settings = make_settings(place, model, context_length=CONTEXT, micro_batch=micro_batch)
    assert model.architecture is not None
    return estimate_memory(model.architecture, model.variant(quant), settings, backend="cpu").host_bytes


def _quantizing(
    expected: Mapping[str, ExpectedTensor], target: Target, engine: Engine, threads: int | None
) -> Span:
    """Packing every weight, at the rate at which the engine packs a few blocks of its type on one thread."""
    weights: dict[str, int] = {}
    for tensor in expected.values():
        weights[tensor.type] = weights.get(tensor.type, 0) + tensor.elements
    types = sorted(weights.keys() - _PACKED_BY_COPYING)
    if not types:
        return Span(1.0, 0.2, 10.0)
    blocks = require(engine.sample_blocks(types, _SAMPLED_BLOCKS))
    alone = sum(
        weights[kind] * blocks.seconds[kind] / (_SAMPLED_BLOCKS * TENSOR_TYPES[kind].block_size)
        for kind in types
    )
    cpu = target.device.cpu
    together = alone / (threads or cpu.usable_threads or os.cpu_count() or 1)
    low, high = _QUANTIZE_FACTOR
    return Span(together, low * together, high * together)
