"""The search: every way to run a model on a target, and the best of them.

For one model the candidates are quantizations x processors x offload x KV cache types x micro-batch. Settings are
tried from the most comfortable to the most frugal, and the first that fits in memory stands for the rest: a
smaller micro-batch or a quantized KV cache has no advantage once the default fits, but that a smaller cache is read
more quickly: where the default is not quick enough, the others are tried as well.

Most candidates cannot win, which is seen without an estimate: no deployment takes less memory than its weights, none
decodes or reads a prompt faster than its weights allow, and none is better than its variant with the best cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from operator import attrgetter, itemgetter

import msgspec

from advisor.candidates import Candidate, evaluate, memory_of, memory_shortfalls
from advisor.catalog import Model, Variant
from advisor.load import weight_groups
from advisor.memory import MemoryEstimate, Settings, kv_type_problem
from advisor.quality import Quality, estimate_quality
from advisor.quantization_loss import variant_loss
from advisor.score import memory_points, quality_points, speed_points
from advisor.speed import Processor, speed_ceiling
from advisor.speed_plan import NO_CEILING, Ceiling
from advisor.target import Place, Target
from advisor.workload import Workload
from quantize.architecture import Architecture

COMFORT: tuple[tuple[str, int], ...] = (("f16", 512), ("f16", 128), ("q8_0", 512), ("q8_0", 128))
"""KV cache type and micro-batch, in the order they are tried."""

QUICKER = 2.0
"""No other cache type or micro-batch makes a deployment this many times as fast."""

UNSCORED = 25.0
"""Points to weigh the loss of a model nobody scored by; about the middle of those that have a score."""

SAME_SIZE = 0.005
"""Two labels whose tensors differ by less than this share of bytes are one variant under two names."""


def distinct_variants(model: Model) -> tuple[Variant, ...]:
    """The variants from big to small, without labels whose real size equals the one before."""
    kept: list[Variant] = []
    for variant in sorted(model.variants, key=lambda variant: -variant.tensor_bytes):
        if kept and variant.tensor_bytes > kept[-1].tensor_bytes * (1 - SAME_SIZE):
            continue
        kept.append(variant)
    return tuple(kept)


class Choice:
    """A variant with what can be said of it for a workload before any device is looked at."""

    def __init__(self, model: Model, variant: Variant, workload: Workload) -> None:
        self.model, self.variant, self.workload = model, variant, workload
        arch = model.architecture
        assert arch is not None
        # By type: bytes that a token reads, and weights that every token of a prompt is multiplied with.
        self.work = tuple(
            (group.type, group.bytes_, group.weights - group.head_weights)
            for group in weight_groups(arch, variant.read_bytes_by_type, variant.output_bytes)
        )
        self.comfort = _comfort(arch)
        self._limit: float | None = None
        self._memory: dict[tuple[str, str, int, int], MemoryEstimate] = {}
        self._quality: dict[str, Quality] = {}

    def memory(self, place: Place, settings: Settings) -> MemoryEstimate:
        """The memory of the variant at a place, with cache types that are alike; kept for the next device."""
        key = (place.processor.backend, settings.type_k, settings.micro_batch, settings.offload_layers)
        known = self._memory.get(key)
        if known is None:
            known = self._memory[key] = memory_of(self.model, self.variant, place, settings)
        return known

    def quality(self, kv_type: str = "f16") -> Quality:
        """The quality of the variant with a cache of that type, for keys and values; kept for the next device."""
        known = self._quality.get(kv_type)
        if known is None:
            need = self.workload
            known = self._quality[kv_type] = estimate_quality(
                self.model, self.variant, need.task, need.languages, kv_type, kv_type
            )
        return known

    def may_fit(self, room: float) -> bool:
        """Whether its weights alone are no more than `room` bytes, and its file than may be downloaded."""
        most = self.workload.max_download_bytes
        return self.variant.tensor_bytes <= room and (most is None or self.variant.file_bytes <= most)

    def severity_on(self, ceiling: Ceiling) -> float:
        """How far it misses the floors of speed on a processor at least, as `Candidate.severity`; 1: perhaps not."""
        need = self.workload
        token_s = self._token_s(ceiling)
        slow = max(1.0, need.min_tg_tokens_per_s * token_s / ceiling.tg_low)
        if not need.prompt_tokens:
            return slow * _times_over(token_s / ceiling.tg_low, need.max_ttft_s)
        prompt_s = ceiling.prompt_s
        each = sum(weights * prompt_s.get(kind, 0.0) for kind, _, weights in self.work)
        return slow * _times_over((need.prompt_tokens * each + token_s) / ceiling.pp_low, need.max_ttft_s)

    def limit_on(self, ceiling: Ceiling) -> float:
        """The score it cannot exceed on a processor, minus infinity where it misses a floor in any case."""
        if self.severity_on(ceiling) > 1.0:
            return -math.inf
        if self._limit is None:
            light = memory_points(self.variant.tensor_bytes)
            self._limit = _rank(self.model, self.variant, self.quality(), light)
        token_s = self._token_s(ceiling)
        tg = 1 / token_s if token_s else math.inf
        return self._limit + speed_points(tg, self.workload.min_tg_tokens_per_s)

    def _token_s(self, ceiling: Ceiling) -> float:
        """Seconds that decoding a token takes at least."""
        decode_s = ceiling.decode_s
        return sum(size * decode_s.get(kind, 0.0) for kind, size, _ in self.work)


def _times_over(seconds: float, most: float) -> float:
    return max(1.0, seconds / most if most else math.inf)


@lru_cache(maxsize=4096)
def _comfort(arch: Architecture) -> tuple[tuple[str, int], ...]:
    """Of `COMFORT` what the engine takes for an architecture."""
    return tuple(each for each in COMFORT if kv_type_problem(arch, each[0], each[0]) is None)


def choices(model: Model, workload: Workload) -> tuple[Choice, ...]:
    """The variants of a model that a search looks at, from big to small. One tuple serves for many devices."""
    return tuple(Choice(model, variant, workload) for variant in distinct_variants(model))


def candidates(choice: Choice, target: Target) -> Iterator[Candidate]:
    """One candidate a processor (two where a part of the layers could be offloaded)."""
    for place in target.usable_places:
        yield from _candidates_at(choice, target, place)


class Opening(msgspec.Struct, frozen=True, gc=False):
    """A variant at a place, not estimated yet, with the score it cannot exceed."""

    limit: float
    choice: Choice
    place: Place


def openings(among: tuple[Choice, ...], target: Target) -> list[Opening]:
    """What of a model could be feasible on a target, by the bounds, the most promising first."""
    ceilings = [(place, _ceiling(target, place)) for place in target.usable_places]
    room = target.room
    found = [
        Opening(limit, choice, place)
        for choice in among
        if choice.may_fit(room)
        for place, ceiling in ceilings
        if (limit := choice.limit_on(ceiling)) > -math.inf
    ]
    found.sort(key=attrgetter("limit"), reverse=True)
    return found


Tried = dict[tuple[int, int], tuple[Candidate, ...]]
"""What was estimated for a target already, by the ids of choice and place."""


def best(among: list[Opening], target: Target, tried: Tried | None = None) -> Candidate | None:
    """The feasible candidate with the highest score of a model's `openings`; None where none is feasible.

    They are estimated in their order, until none is left that could still win; `tried` keeps the estimates.
    """
    tried = {} if tried is None else tried
    found: Candidate | None = None
    found_rank = -math.inf
    for opening in among:
        if opening.limit <= found_rank:
            break
        choice = opening.choice
        found_here = tried[id(choice), id(opening.place)] = tuple(
            _candidates_at(choice, target, opening.place)
        )
        for candidate in found_here:
            if candidate.feasible:
                extra = candidate.score.speed + candidate.score.memory
                rank = _rank(choice.model, choice.variant, candidate.quality, extra)
                if rank > found_rank:
                    found, found_rank = candidate, rank
    return found


def best_of(model: Model, target: Target, workload: Workload) -> Candidate | None:
    """The feasible candidate of a model with the highest score; None where none is feasible."""
    return best(openings(choices(model, workload), target), target)


def nearest(among: tuple[Choice, ...], target: Target, tried: Tried | None = None) -> Candidate | None:
    """The candidate that lacks least; of variants too big for all the memory there is, the smallest stands for all.

    None where the device has no processor to run on. What is in `tried` is not estimated again.
    """
    tried = {} if tried is None else tried
    looked_at = [choice for choice in among if choice.may_fit(target.room)] or among[-1:]
    ceilings = [(place, _ceiling(target, place)) for place in target.usable_places]
    open_ = [
        (choice.severity_on(ceiling), choice, place) for choice in looked_at for place, ceiling in ceilings
    ]
    open_.sort(key=itemgetter(0))
    found: Candidate | None = None
    for least, choice, place in open_:
        if found is not None and least >= found.severity:
            break
        for candidate in tried.get((id(choice), id(place))) or _candidates_at(choice, target, place):
            if found is None or candidate.severity < found.severity:
                found = candidate
    return found


def _ceiling(target: Target, place: Place) -> Ceiling:
    """What no deployment at a place exceeds, with a part of it on the CPU or without."""
    if target.known_speeds:
        return NO_CEILING  # a measurement may say otherwise than data sheets
    own = speed_ceiling(place.processor)
    if place.processor.accelerator is None or place.shared or target.cpu is None:
        return own
    return own.with_help_of(speed_ceiling(target.cpu))


def _candidates_at(choice: Choice, target: Target, place: Place) -> Iterator[Candidate]:
    assert choice.model.architecture is not None
    layers = choice.model.architecture.n_layer + 1 if place.processor.accelerator is not None else 0
    candidate = _first_that_fits(choice, target, place, layers)
    yield candidate
    if layers and not place.shared and target.cpu is not None and _lacks_memory(candidate):
        partial = _partial_offload(choice, target, place, target.cpu)
        if partial is not None:
            yield partial


def _first_that_fits(choice: Choice, target: Target, place: Place, offload_layers: int) -> Candidate:
    """The most comfortable settings that fit in memory; the most frugal ones where none does."""

    def option(kv_type: str, micro_batch: int) -> Settings:
        return _settings(choice, kv_type, micro_batch, offload_layers, place.processor)

    def fits(settings: Settings) -> bool:
        return not any(memory_shortfalls(choice.memory(place, settings), target, place))

    comfortable = option(*choice.comfort[0])
    if fits(comfortable):
        fitting = [comfortable]
    else:
        options = [option(*each) for each in choice.comfort[1:]]
        if not fits(options[-1]):
            return _estimated(choice, target, place, options[-1])
        fitting = [settings for settings in options if fits(settings)]
    first = _estimated(choice, target, place, fitting[0])
    if first.feasible or first.severity > QUICKER:
        return first
    # Nearly quick enough: a quantized cache is also read more quickly.
    smaller = fitting[1:] or [option(*each) for each in choice.comfort[1:]]
    others = (_estimated(choice, target, place, settings) for settings in smaller if fits(settings))
    return next((candidate for candidate in others if candidate.feasible), first)


def _estimated(choice: Choice, target: Target, place: Place, settings: Settings) -> Candidate:
    return evaluate(
        choice.model,
        choice.variant,
        target,
        place,
        settings,
        choice.workload,
        memory=choice.memory(place, settings),
        quality=choice.quality(settings.type_k),
    )


def _settings(
    choice: Choice, kv_type: str, micro_batch: int, offload_layers: int, cpu: Processor
) -> Settings:
    return Settings(
        context_length=choice.workload.context_length,
        type_k=kv_type,
        type_v=kv_type,
        micro_batch=micro_batch,
        offload_layers=offload_layers,
        threads=cpu.threads,
        threads_batch=cpu.threads_batch,
    )


def _partial_offload(choice: Choice, target: Target, place: Place, cpu: Processor) -> Candidate | None:
    """As many layers on the accelerator as fit, the rest on the CPU; None where not even one layer fits.

    Memory on the accelerator grows linearly with the layers it holds, so the first guess is nearly right.
    """
    assert choice.model.architecture is not None
    most = choice.model.architecture.n_layer
    budget = place.memory_bytes if place.memory_bytes is not None else 0

    def with_layers(layers: int) -> Settings:
        return _settings(choice, *COMFORT[0], layers, cpu)

    full = choice.memory(place, with_layers(most)).accelerator_high_bytes
    one = choice.memory(place, with_layers(1)).accelerator_high_bytes
    per_layer = max((full - one) / max(most - 1, 1), 1.0)
    for layers in range(min(most, int(1 + (budget - one) / per_layer)), 0, -1):
        if choice.memory(place, with_layers(layers)).accelerator_high_bytes <= budget:
            return _estimated(choice, target, place, with_layers(layers))
    return None


def _lacks_memory(candidate: Candidate) -> bool:
    return any(shortfall.constraint == "accelerator memory" for shortfall in candidate.shortfalls)


def _rank(model: Model, variant: Variant, quality: Quality, extra: float) -> float:
    """The score as a number to compare within one model.

    Where the quality is unknown its loss is known all the same, in shares of it: variants of such a model compare
    as if it had UNSCORED points, or the smallest file would always win. The number is shown to nobody.
    """
    if quality.value is None or quality.low is None or quality.high is None:
        return extra - variant_loss(model, variant, "f16", "f16", UNSCORED).points.value
    value, caution = quality_points(quality.value, quality.low, quality.high)
    return value - caution + extra
