"""Why: what a deployment costs and gives, what rules one out, and the cheapest change that would let it in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import msgspec

from advisor.candidates import Candidate, Shortfall, exclusions
from advisor.catalog import Model, Variant
from advisor.evidence import Evidence
from advisor.language import _, marked, plural
from advisor.memory import MemoryEstimate
from advisor.search import Choice, best_of, candidates, distinct_variants
from advisor.target import Place, Target
from advisor.workload import MAX_TTFT_S, PRESETS, Workload
from profiles.text import amount, rate, seconds

ChangeKind = Literal[
    "quant", "context", "memory-budget", "min-tg", "max-ttft", "max-download", "license", "family", "task"
]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the question that lets the deployment in, checked by asking again."""

    change: ChangeKind
    value: float | str
    message: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """`candidate` is the best deployment if one fits, else the one that came nearest; None if none was tried.

    `changes` are single changes that suffice; where there is none, `together` are changes that do when all are made.
    """

    model: Model
    quant: str | None
    candidate: Candidate | None
    shortfalls: tuple[Shortfall, ...]
    changes: tuple[Change, ...]
    together: tuple[Change, ...]
    variants: tuple[Candidate, ...]

    @property
    def fits(self) -> bool:
        return self.candidate is not None and not self.shortfalls


def explain(model: Model, quant: str | None, target: Target, workload: Workload) -> Explanation:
    """Explain one model, or one variant of it, for a workload on a target."""
    ruled_out = exclusions(model, workload)
    if any(shortfall.constraint == "engine" for shortfall in ruled_out):
        return Explanation(
            model=model,
            quant=quant,
            candidate=None,
            shortfalls=ruled_out,
            changes=(),
            together=(),
            variants=(),
        )
    variants = tuple(_nearest(model, variant, target, workload) for variant in distinct_variants(model))
    if quant is not None:
        chosen = _nearest(model, model.variant(quant), target, workload)
    else:
        found = best_of(model, target, workload)
        chosen = found or min(variants, key=lambda candidate: candidate.severity)
    shortfalls = ruled_out + chosen.shortfalls
    changes = tuple(_changes(model, quant, target, workload)) if shortfalls else ()
    return Explanation(
        model=model,
        quant=quant,
        candidate=chosen,
        shortfalls=shortfalls,
        changes=changes,
        together=() if changes else tuple(_together(model, chosen, ruled_out, workload)),
        variants=variants,
    )


def reasons(candidate: Candidate, target: Target, workload: Workload) -> tuple[str, ...]:
    """What a feasible deployment gives and costs, a sentence each."""
    said: list[str] = []
    quality, speed, memory = candidate.quality, candidate.speed, candidate.memory
    if quality.value is None or quality.low is None or quality.high is None:
        said.append(_("no published score: quality for {task} is not known").format(task=_(workload.task)))
    else:
        text = _("quality {value:.1f} ({low:.1f} to {high:.1f}) for {task}").format(
            value=quality.value, low=quality.low, high=quality.high, task=_(workload.task)
        )
        if quality.loss is not None and quality.loss.points.value >= 0.05:
            text += _(", {points:.1f} points lost to {quant}").format(
                points=quality.loss.points.value, quant=candidate.variant.quant
            )
        said.append(text)
    if speed is not None:
        said.append(
            _("generates {value} tokens/s ({low} to {high}){here}; the floor is {floor}").format(
                value=rate(speed.tg.value),
                low=rate(speed.tg.low),
                high=rate(speed.tg.high),
                here=_(_HERE.get(speed.tg.evidence, "")),
                floor=rate(workload.min_tg_tokens_per_s),
            )
        )
        said.append(
            _("first token after {value} ({low} to {high}) for a prompt of {tokens} tokens").format(
                value=seconds(speed.ttft_s.value),
                low=seconds(speed.ttft_s.low),
                high=seconds(speed.ttft_s.high),
                tokens=workload.prompt_tokens,
            )
        )
    said.append(_memory_taken(memory, target, candidate.place))
    said.append(_settings(candidate))
    if candidate.model.gguf_repos:
        said.append(_("ready-made files: {repository}").format(repository=candidate.model.gguf_repos[0]))
    if candidate.variant.needs_imatrix:
        said.append(_("needs an importance matrix to be built well"))
    if candidate.model.gated:
        said.append(_("the weights are gated: accept the licence on the Hub first"))
    return tuple(said)


_HERE: dict[Evidence, str] = {"measured": marked(", measured here"), "probed": marked(", probed here")}


def _settings(candidate: Candidate) -> str:
    settings, processor = candidate.settings, candidate.place.processor
    name = f"{processor.name or _('this device')} ({processor.backend})"
    how = ""
    if processor.accelerator is None and settings.threads is not None:
        how = plural(" with {threads} thread", " with {threads} threads", settings.threads).format(
            threads=settings.threads
        )
        if settings.threads_batch not in (None, settings.threads):
            how += _(" ({threads} for prompts)").format(threads=settings.threads_batch)
    elif processor.accelerator is not None and candidate.model.architecture is not None:
        how = _(" with {layers} of {all} layers on it").format(
            layers=settings.offload_layers, all=candidate.model.architecture.n_layer + 1
        )
    return _("run on {place}: context {context}, KV cache {type}, micro-batch {batch}").format(
        place=name + how,
        context=settings.context_length,
        type=settings.type_k,
        batch=settings.micro_batch,
    )


def _memory_taken(memory: MemoryEstimate, target: Target, place: Place) -> str:
    """The most a deployment may take beside the budget it comes out of, the accelerator's and the host's apart."""

    def of(size: int, budget: int | None) -> str:
        if budget is None:
            return amount(size)
        return _("{size} of {budget}").format(size=amount(size), budget=amount(budget))

    host, accelerator = memory.host_high_bytes, memory.accelerator_high_bytes
    if target.total_bytes is not None:
        return _("takes {memory} at most").format(memory=of(host + accelerator, target.total_bytes))
    if not accelerator:
        return _("takes {memory} at most").format(memory=of(host, target.host_bytes))
    if place.shared:
        return _("takes {memory} at most, {own} for the accelerator").format(
            memory=of(host + accelerator, target.host_bytes), own=of(accelerator, place.memory_bytes)
        )
    return _("takes {own} on the accelerator and {memory} of main memory at most").format(
        own=of(accelerator, place.memory_bytes), memory=of(host, target.host_bytes)
    )


def describe(shortfall: Shortfall) -> str:
    """A shortfall as a sentence."""
    needed, available, reason = shortfall.needed, shortfall.available, shortfall.reason or ""
    match shortfall.constraint:
        case "memory" | "host memory" | "accelerator memory" as kind:
            assert isinstance(needed, int) and isinstance(available, int)
            return _("needs {needed} of {kind}, and there are {available}").format(
                needed=amount(needed), kind=_(_KINDS[kind]), available=amount(available)
            )
        case "download":
            assert isinstance(needed, int) and isinstance(available, int)
            return _("the file is {needed}, more than the {available} allowed").format(
                needed=amount(needed), available=amount(available)
            )
        case "decode speed":
            assert isinstance(needed, float) and isinstance(available, float)
            return _("may generate only {available} tokens/s, and {needed} are asked for").format(
                available=rate(available), needed=rate(needed)
            )
        case "first token":
            assert isinstance(needed, float) and isinstance(available, float)
            return _("the first token may take {available}, and {needed} are allowed").format(
                available=seconds(available), needed=seconds(needed)
            )
        case "context":
            return _("was made for {available} tokens of context, and {needed} are asked for").format(
                available=available, needed=needed
            )
        case "license":
            return _("its licence is {available}, and {needed} is asked for").format(
                available=_(str(available)), needed=needed
            )
        case "family":
            return _("is of family {available}, not {needed}").format(available=available, needed=needed)
        case "task":
            return _("is made for {available}, not for {needed}").format(
                available=", ".join(_(task) for task in str(available).split(", ")), needed=_(str(needed))
            )
        case "engine":
            return _("llama.cpp cannot run it: {reason}").format(reason=_(reason))
        case "dimensions":
            return _("its dimensions are not certain: {reason}").format(reason=_(reason))
        case "policy":
            return reason
        case "no estimate":
            return _("no estimate: {reason}").format(reason=_(reason))


_KINDS: dict[str, str] = {
    "memory": marked("memory"),
    "host memory": marked("host memory"),
    "accelerator memory": marked("accelerator memory"),
}


def _nearest(model: Model, variant: Variant, target: Target, workload: Workload) -> Candidate:
    found = list(candidates(Choice(model, variant, workload), target))
    feasible = [candidate for candidate in found if candidate.feasible]
    if feasible:
        return max(feasible, key=lambda candidate: candidate.score.speed)
    return min(found, key=lambda candidate: candidate.severity)


def _changes(model: Model, quant: str | None, target: Target, workload: Workload) -> Iterator[Change]:
    """Single changes that suffice, the ones that cost the user least first."""
    if quant is not None:
        lower = _largest_that_fits(model, quant, target, workload)
        if lower is not None:
            yield other_quant(lower, quant)
    shorter = workload.context_length // 2
    while shorter >= workload.prompt_tokens + workload.answer_tokens:
        if _fits(model, quant, target, _with(workload, context_length=shorter)):
            yield _shorter(shorter)
            break
        shorter //= 2
    for kind, message, relaxed in _filters(model, workload):
        if _fits(model, quant, target, relaxed):
            yield Change(change=kind, value="any", message=message)
    patient = _best(model, quant, target, _with(workload, min_tg_tokens_per_s=0.0))
    if patient is not None and patient.speed is not None:
        yield _slower(patient.speed.tg.low)
    waiting = _best(model, quant, target, _with(workload, max_ttft_s=MAX_TTFT_S))
    if waiting is not None and waiting.speed is not None:
        yield _later(waiting.speed.ttft_s.high)
    more = _more_memory(model, quant, target, workload)
    if more is not None:
        yield _roomier(more)
    if workload.max_download_bytes is not None:
        heavy = _best(model, quant, target, _with(workload, max_download_bytes=None))
        if heavy is not None and heavy.variant.file_bytes > workload.max_download_bytes:
            yield _heavier(heavy.variant.file_bytes)


def _together(
    model: Model, chosen: Candidate, ruled_out: tuple[Shortfall, ...], workload: Workload
) -> Iterator[Change]:
    """What has to change at once for the nearest candidate."""
    if any(shortfall.constraint == "context" for shortfall in ruled_out):
        longest = model.context_length or 0
        yield _shorter(longest)
    for kind, message, _relaxed in _filters(model, workload):
        if any(shortfall.constraint == kind for shortfall in ruled_out):
            yield Change(change=kind, value="any", message=message)
    lacking = _lacking_memory(chosen)
    if lacking:
        yield _roomier(lacking)
    for shortfall in chosen.shortfalls:
        if shortfall.constraint == "decode speed" and isinstance(shortfall.available, float):
            yield _slower(shortfall.available)
        if shortfall.constraint == "first token" and isinstance(shortfall.available, float):
            yield _later(shortfall.available)
        if shortfall.constraint == "download":
            yield _heavier(chosen.variant.file_bytes)


def other_quant(quant: str, instead_of: str) -> Change:
    message = _("use {quant} instead of {other}").format(quant=quant, other=instead_of)
    return Change(change="quant", value=quant, message=message)


def _shorter(tokens: int) -> Change:
    message = _("use a context of {tokens} tokens").format(tokens=tokens)
    return Change(change="context", value=tokens, message=message)


def _roomier(size: int) -> Change:
    message = _("find {size} more memory").format(size=amount(size, up=True))
    return Change(change="memory-budget", value=size, message=message)


def _heavier(size: int) -> Change:
    message = _("allow a download of {size}").format(size=amount(size, up=True))
    return Change(change="max-download", value=size, message=message)


def _slower(low: float) -> Change:
    step = 10.0 ** (math.floor(math.log10(low)) - 1)  # two digits, rounded down: the option must let it in
    shown = math.floor(low / step) * step
    message = _("accept {rate} tokens/s at worst (--min-tg {option:.4g})").format(
        rate=rate(low), option=shown
    )
    return Change(change="min-tg", value=low, message=message)


def _later(high: float) -> Change:
    return Change(
        change="max-ttft",
        value=high,
        message=_("accept {seconds} to the first token at worst (--max-ttft {option})").format(
            seconds=seconds(high), option=math.ceil(high)
        ),
    )


def _with(workload: Workload, **changes: object) -> Workload:
    return msgspec.structs.replace(workload, **changes)


def _filters(model: Model, workload: Workload) -> Iterator[tuple[ChangeKind, str, Workload]]:
    if workload.licenses:
        message = (
            _("accept the licence {licence}").format(licence=model.license)
            if model.license
            else _("accept a licence that is not known")
        )
        yield "license", message, _with(workload, licenses=())
    if workload.families:
        yield "family", _("allow family {family}").format(family=model.family), _with(workload, families=())
    if workload.task != "general" and workload.task not in model.tasks:
        relaxed = _as_general(workload)
        message = _("ask for task general")
        if relaxed.context_length != workload.context_length:
            message += _(" and its context of {tokens} tokens").format(tokens=relaxed.context_length)
        yield "task", message, relaxed


def _as_general(workload: Workload) -> Workload:
    """The question with `--task general`: what was the task's preset becomes the preset of general."""
    own, general = PRESETS[workload.task], PRESETS["general"]
    fields = ("context_length", "prompt_tokens", "answer_tokens", "min_tg_tokens_per_s", "max_ttft_s")
    preset = {
        field: getattr(general, field) for field in fields if getattr(workload, field) == getattr(own, field)
    }
    return _with(workload, task="general", **preset)


def _best(model: Model, quant: str | None, target: Target, workload: Workload) -> Candidate | None:
    if exclusions(model, workload):
        return None
    if quant is None:
        return best_of(model, target, workload)
    candidate = _nearest(model, model.variant(quant), target, workload)
    return candidate if candidate.feasible else None


def _fits(model: Model, quant: str | None, target: Target, workload: Workload) -> bool:
    return _best(model, quant, target, workload) is not None


def _largest_that_fits(model: Model, quant: str, target: Target, workload: Workload) -> str | None:
    size = model.variant(quant).tensor_bytes
    for variant in distinct_variants(model):
        if variant.tensor_bytes < size and _fits(model, variant.quant, target, workload):
            return variant.quant
    return None


def _more_memory(model: Model, quant: str | None, target: Target, workload: Workload) -> int | None:
    """The least extra memory, of whichever kind is short, with which a variant satisfies everything else."""
    extra: list[int] = []
    for variant in distinct_variants(model) if quant is None else (model.variant(quant),):
        for candidate in candidates(Choice(model, variant, workload), target):
            lacking = _lacking_memory(candidate)
            only = all("memory" in shortfall.constraint for shortfall in candidate.shortfalls)
            if lacking and only and not exclusions(model, workload):
                extra.append(lacking)
    return min(extra, default=None)


def _lacking_memory(candidate: Candidate) -> int:
    """Bytes that are missing of the memory that is shortest; 0 where none is."""
    return max(
        (
            shortfall.needed - shortfall.available
            for shortfall in candidate.shortfalls
            if "memory" in shortfall.constraint
            and isinstance(shortfall.needed, int)
            and isinstance(shortfall.available, int)
        ),
        default=0,
    )
