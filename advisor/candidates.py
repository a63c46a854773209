"""The search: every way to run a model on a target, and what each lacks.

For one model the candidates are quantizations x processors x offload x KV cache types x micro-batch. Settings are
tried from the most comfortable to the most frugal, and the first that fits in memory stands for the rest: a
smaller micro-batch or a quantized KV cache has no advantage once the default fits, but that a smaller cache is read
more quickly: where the default is not quick enough, the others are tried as well.

Feasible means that the high end of the memory interval and the low end of the speed interval hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import msgspec

from advisor.catalog import Model, Variant, family_matches
from advisor.deployment_speed import deployment_speed
from advisor.language import _, marked
from advisor.licenses import allows
from advisor.memory import MemoryEstimate, Settings, estimate_memory, kv_type_problem
from advisor.quality import Quality, estimate_quality
from advisor.quantization_loss import variant_loss
from advisor.score import MAX_SPEED_POINTS, Score, memory_points, quality_points, speed_points
from advisor.speed import SpeedEstimate, load_of
from advisor.target import Place, Target
from advisor.workload import Workload
from quantize.architecture import Architecture

Constraint = Literal[
    "engine",  # llama.cpp cannot run the model
    "dimensions",  # nothing confirms those the catalog has
    "family",
    "license",
    "task",  # made for something else
    "context",  # tokens
    "download",  # bytes
    "memory",  # bytes, host and accelerator together
    "host memory",  # bytes
    "accelerator memory",  # bytes
    "decode speed",  # tokens per second
    "first token",  # seconds
    "policy",  # of the organization
    "no estimate",  # the device's numbers do not suffice for one
]

COMFORT: tuple[tuple[str, int], ...] = (("f16", 512), ("f16", 128), ("q8_0", 512), ("q8_0", 128))
"""KV cache type and micro-batch, in the order they are tried."""

QUICKER = 2.0
"""No other cache type or micro-batch makes a deployment this many times as fast."""

UNSCORED = 25.0
"""Points to weigh the loss of a model nobody scored by; about the middle of those that have a score."""

SAME_SIZE = 0.005
"""Two labels whose tensors differ by less than this share of bytes are one variant under two names."""


class Shortfall(msgspec.Struct, frozen=True, kw_only=True):
    """A constraint that is not met: what was needed and what there is, in the constraint's unit."""

    constraint: Constraint
    needed: int | float | str | None = None
    available: int | float | str | None = None
    reason: str | None = None

    @property
    def severity(self) -> float:
        """How far off: the factor between needed and available, infinite where no number would help."""
        if not isinstance(self.needed, (int, float)) or not isinstance(self.available, (int, float)):
            return float("inf")
        small, large = sorted((float(self.needed), float(self.available)))
        return large / small if small > 0 else float("inf")


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment with its estimates; feasible when it has no shortfall."""

    model: Model
    variant: Variant
    place: Place
    settings: Settings
    memory: MemoryEstimate
    speed: SpeedEstimate | None
    quality: Quality
    score: Score
    shortfalls: tuple[Shortfall, ...]

    @property
    def feasible(self) -> bool:
        return not self.shortfalls

    @property
    def severity(self) -> float:
        worst = 1.0
        for shortfall in self.shortfalls:
            worst *= shortfall.severity
        return worst


def exclusions(model: Model, workload: Workload) -> tuple[Shortfall, ...]:
    """What rules a model out before any quantization is looked at."""
    found: list[Shortfall] = []
    if model.unsupported is not None or model.architecture is None or not model.variants:
        reason = model.unsupported or marked("its tensors are not known")
        found.append(Shortfall(constraint="engine", reason=reason))
    elif not model.verified and not model.own:
        found.append(
            Shortfall(constraint="dimensions", reason=marked("its parameter count does not confirm them"))
        )
    if workload.families and not family_matches(model.family, workload.families):
        found.append(
            Shortfall(constraint="family", needed=" or ".join(workload.families), available=model.family)
        )
    if workload.licenses and not allows(model, workload.licenses):
        found.append(
            Shortfall(
                constraint="license",
                needed=" or ".join(workload.licenses),
                available=model.license or marked("not known"),
            )
        )
    if workload.task != "general" and model.tasks and workload.task not in model.tasks:
        found.append(Shortfall(constraint="task", needed=workload.task, available=", ".join(model.tasks)))
    if model.context_length is not None and model.context_length < workload.context_length:
        found.append(
            Shortfall(constraint="context", needed=workload.context_length, available=model.context_length)
        )
    return tuple(found)


def distinct_variants(model: Model) -> tuple[Variant, ...]:
    """The variants from big to small, without labels whose real size equals the one before."""
    kept: list[Variant] = []
    for variant in sorted(model.variants, key=lambda variant: -variant.tensor_bytes):
        if kept and variant.tensor_bytes > kept[-1].tensor_bytes * (1 - SAME_SIZE):
            continue
        kept.append(variant)
    return tuple(kept)


def candidates(model: Model, variant: Variant, target: Target, workload: Workload) -> Iterator[Candidate]:
    """One candidate a processor (two where a part of the layers could be offloaded)."""
    for place in target.usable_places:
        assert model.architecture is not None
        layers = model.architecture.n_layer + 1 if place.processor.accelerator is not None else 0
        candidate = _first_that_fits(model, variant, target, place, layers, workload)
        yield candidate
        if layers and not place.shared and target.cpu is not None and _lacks_memory(candidate):
            partial = _partial_offload(model, variant, target, place, workload)
            if partial is not None:
                yield partial


class Search(msgspec.Struct, frozen=True):
    """What the search through one model found: the best feasible candidate, or the one that lacks least."""

    best: Candidate | None
    nearest: Candidate | None


def search(model: Model, target: Target, workload: Workload) -> Search:
    """The feasible candidate with the highest score; where there is none, the one that lacks least.

    Variants come from big to small, so quality only falls: the search stops when even the fastest answer could
    not make up for it. Variants bigger than all the memory there is are not looked at, unless all of them are;
    then the smallest stands for them. Both are None where the device has no processor to run on.
    """
    found: Candidate | None = None
    found_rank = -float("inf")
    nearest: Candidate | None = None
    variants = distinct_variants(model)
    lightest = memory_points(variants[-1].tensor_bytes) if variants else 0.0
    for variant in [variant for variant in variants if _may_fit(variant, target, workload)] or variants[-1:]:
        if found is not None:
            best_case = estimate_quality(model, variant, workload.task, workload.languages)
            if _rank(model, variant, best_case, MAX_SPEED_POINTS + lightest) <= found_rank:
                break
        for candidate in candidates(model, variant, target, workload):
            if candidate.feasible:
                rank = _rank(
                    model, variant, candidate.quality, candidate.score.speed + candidate.score.memory
                )
                if found is None or rank > found_rank:
                    found, found_rank = candidate, rank
            elif found is None and (nearest is None or candidate.severity < nearest.severity):
                nearest = candidate
    return Search(found, None if found is not None else nearest)


def _may_fit(variant: Variant, target: Target, workload: Workload) -> bool:
    limit = workload.max_download_bytes
    return variant.tensor_bytes <= target.room and (limit is None or variant.file_bytes <= limit)


def evaluate(
    model: Model,
    variant: Variant,
    target: Target,
    place: Place,
    settings: Settings,
    workload: Workload,
    memory: MemoryEstimate | None = None,
) -> Candidate:
    """Estimate one deployment and list what it lacks; `memory` spares its estimate where it is known."""
    memory = memory or memory_of(model, variant, place, settings)
    shortfalls = list(memory_shortfalls(memory, target, place))
    if workload.max_download_bytes is not None and variant.file_bytes > workload.max_download_bytes:
        shortfalls.append(
            Shortfall(constraint="download", needed=variant.file_bytes, available=workload.max_download_bytes)
        )
    speed = _speed(model, variant, target, place, settings, workload)
    if speed is None:
        name = place.processor.name or _("this processor")
        reason = _("the bandwidth of {processor} is not known").format(processor=name)
        shortfalls.append(Shortfall(constraint="no estimate", reason=reason))
    else:
        shortfalls.extend(speed_shortfalls(speed, workload))
    quality = estimate_quality(
        model, variant, workload.task, workload.languages, settings.type_k, settings.type_v
    )
    return Candidate(
        model=model,
        variant=variant,
        place=place,
        settings=settings,
        memory=memory,
        speed=speed,
        quality=quality,
        score=_score(quality, speed, memory, workload),
        shortfalls=tuple(shortfalls),
    )


def memory_shortfalls(memory: MemoryEstimate, target: Target, place: Place) -> Iterator[Shortfall]:
    """Which budgets the high end of the memory estimate exceeds."""
    host, accelerator = memory.host_high_bytes, memory.accelerator_high_bytes
    both = host + accelerator
    if target.total_bytes is not None and both > target.total_bytes:
        yield Shortfall(constraint="memory", needed=both, available=target.total_bytes)
    if place.memory_bytes is not None and accelerator > place.memory_bytes:
        yield Shortfall(constraint="accelerator memory", needed=accelerator, available=place.memory_bytes)
    from_host = both if place.shared or place.processor.accelerator is None else host
    # A budget that was given covers the host too, unless it is more than the host has.
    host_counts = target.total_bytes is None or (target.host_bytes or 0) < target.total_bytes
    if target.host_bytes is not None and from_host > target.host_bytes and host_counts:
        yield Shortfall(constraint="host memory", needed=from_host, available=target.host_bytes)


def speed_shortfalls(speed: SpeedEstimate, workload: Workload) -> Iterator[Shortfall]:
    """Which floors the slow end of the speed estimate misses."""
    if speed.tg.low < workload.min_tg_tokens_per_s:
        yield Shortfall(
            constraint="decode speed", needed=workload.min_tg_tokens_per_s, available=speed.tg.low
        )
    if speed.ttft_s.high > workload.max_ttft_s:
        yield Shortfall(constraint="first token", needed=workload.max_ttft_s, available=speed.ttft_s.high)


def _first_that_fits(
    model: Model, variant: Variant, target: Target, place: Place, offload_layers: int, workload: Workload
) -> Candidate:
    """The most comfortable settings that fit in memory; the most frugal ones where none does."""
    options = [
        Settings(
            context_length=workload.context_length,
            type_k=kv_type,
            type_v=kv_type,
            micro_batch=micro_batch,
            offload_layers=offload_layers,
            threads=place.processor.threads,
            threads_batch=place.processor.threads_batch,
        )
        for kv_type, micro_batch in COMFORT
        if kv_type == "f16" or _takes(model, kv_type)
    ]

    def room_for(settings: Settings) -> MemoryEstimate | None:
        memory = memory_of(model, variant, place, settings)
        return None if any(memory_shortfalls(memory, target, place)) else memory

    def tried(settings: Settings, memory: MemoryEstimate | None = None) -> Candidate:
        return evaluate(model, variant, target, place, settings, workload, memory)

    fitting = [(options[0], memory)] if (memory := room_for(options[0])) else []
    if not fitting:
        if room_for(options[-1]) is None:
            return tried(options[-1])
        fitting = [(settings, memory) for settings in options[1:] if (memory := room_for(settings))]
    first = tried(*fitting[0])
    if first.feasible or first.severity > QUICKER:
        return first
    # Nearly quick enough: a quantized cache is also read more quickly.
    smaller = options[options.index(fitting[0][0]) + 1 :]
    others = (tried(settings, memory) for settings in smaller if (memory := room_for(settings)))
    return next((candidate for candidate in others if candidate.feasible), first)


def _partial_offload(
    model: Model, variant: Variant, target: Target, place: Place, workload: Workload
) -> Candidate | None:
    """As many layers on the accelerator as fit, the rest on the CPU; None where not even one layer fits.

    Memory on the accelerator grows linearly with the layers it holds, so the first guess is nearly right.
    """
    assert model.architecture is not None
    most = model.architecture.n_layer
    settings = Settings(
        context_length=workload.context_length,
        type_k=COMFORT[0][0],
        type_v=COMFORT[0][0],
        micro_batch=COMFORT[0][1],
        offload_layers=most,
        threads=target.cpu.threads if target.cpu is not None else None,
        threads_batch=target.cpu.threads_batch if target.cpu is not None else None,
    )
    budget = place.memory_bytes if place.memory_bytes is not None else 0
    full = memory_of(model, variant, place, settings).accelerator_high_bytes
    none = memory_of(model, variant, place, _with_layers(settings, 1)).accelerator_high_bytes
    per_layer = max((full - none) / max(most - 1, 1), 1.0)
    layers = min(most, int(1 + (budget - none) / per_layer))
    while layers >= 1:
        partial = _with_layers(settings, layers)
        if memory_of(model, variant, place, partial).accelerator_high_bytes <= budget:
            return evaluate(model, variant, target, place, partial, workload)
        layers -= 1
    return None


@lru_cache(maxsize=4096)
def _engine_takes(architecture: Architecture, kv_type: str) -> bool:
    return kv_type_problem(architecture, kv_type, kv_type) is None


def _takes(model: Model, kv_type: str) -> bool:
    return model.architecture is not None and _engine_takes(model.architecture, kv_type)


def _with_layers(settings: Settings, layers: int) -> Settings:
    return msgspec.structs.replace(settings, offload_layers=layers)


def _lacks_memory(candidate: Candidate) -> bool:
    return any(shortfall.constraint == "accelerator memory" for shortfall in candidate.shortfalls)


def _score(
    quality: Quality, speed: SpeedEstimate | None, memory: MemoryEstimate, workload: Workload
) -> Score:
    fast = speed_points(speed.tg.value, workload.min_tg_tokens_per_s) if speed is not None else 0.0
    light = memory_points(memory.reserved_bytes)
    if quality.value is None or quality.low is None or quality.high is None:
        return Score(quality=None, caution=None, speed=fast, memory=light)
    value, caution = quality_points(quality.value, quality.low, quality.high)
    return Score(quality=value, caution=caution, speed=fast, memory=light)


def _rank(model: Model, variant: Variant, quality: Quality, extra: float) -> float:
    """The score as a number to compare within one model.

    Where the quality is unknown its loss is known all the same, in shares of it: variants of such a model compare
    as if it had UNSCORED points, or the smallest file would always win. The number is shown to nobody.
    """
    if quality.value is None or quality.low is None or quality.high is None:
        return extra - variant_loss(model, variant, "f16", "f16", UNSCORED).points.value
    value, caution = quality_points(quality.value, quality.low, quality.high)
    return value - caution + extra


def memory_of(model: Model, variant: Variant, place: Place, settings: Settings) -> MemoryEstimate:
    """The memory of a deployment at a place."""
    assert model.architecture is not None
    return estimate_memory(model.architecture, variant, settings, backend=place.processor.backend)


def _speed(
    model: Model, variant: Variant, target: Target, place: Place, settings: Settings, workload: Workload
) -> SpeedEstimate | None:
    assert model.architecture is not None
    return deployment_speed(
        model.architecture,
        load_of(model, variant, settings.type_k, settings.type_v),
        variant.bytes_by_type,
        target,
        place,
        settings,
        n_prompt=workload.prompt_tokens,
        n_gen=workload.answer_tokens,
    )
