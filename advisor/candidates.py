"""A candidate: one deployment on a target with its estimates, and what it lacks.

Feasible means that the high end of the memory interval and the low end of the speed interval hold. How candidates are
found is in `advisor.search`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from advisor.catalog import Model, Variant, family_matches
from advisor.deployment_speed import deployment_speed
from advisor.language import _, marked
from advisor.licenses import allows
from advisor.memory import MemoryEstimate, Settings, estimate_memory
from advisor.quality import Quality, estimate_quality
from advisor.score import Score, memory_points, quality_points, speed_points
from advisor.speed import SpeedEstimate, load_of
from advisor.target import Place, Target
from advisor.workload import Workload

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


def evaluate(
    model: Model,
    variant: Variant,
    target: Target,
    place: Place,
    settings: Settings,
    workload: Workload,
    *,
    memory: MemoryEstimate | None = None,
    quality: Quality | None = None,
) -> Candidate:
    """Estimate one deployment and list what it lacks; `memory` and `quality` where they are known already."""
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
    quality = quality or estimate_quality(
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


def _score(
    quality: Quality, speed: SpeedEstimate | None, memory: MemoryEstimate, workload: Workload
) -> Score:
    fast = speed_points(speed.tg.value, workload.min_tg_tokens_per_s) if speed is not None else 0.0
    light = memory_points(memory.reserved_bytes)
    if quality.value is None or quality.low is None or quality.high is None:
        return Score(quality=None, caution=None, speed=fast, memory=light)
    value, caution = quality_points(quality.value, quality.low, quality.high)
    return Score(quality=value, caution=caution, speed=fast, memory=light)


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
