"""From the decision's structs to the documents that leave the program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from advisor.candidates import Candidate, Shortfall
from advisor.confirm import Confirmation
from advisor.explain import Change, Explanation, describe, explain, reasons
from advisor.language import _
from advisor.recommend import Exclusion, Recommendation
from advisor.report.documents import (
    ChangeView,
    DeploymentView,
    DeviceSummary,
    ExplanationDocument,
    LossView,
    MemoryView,
    MissView,
    QualityView,
    RecommendationDocument,
    ScoreView,
    SettingsView,
    ShortfallView,
    VariantVerdict,
)
from advisor.speed import SpeedEstimate
from advisor.target import Target
from advisor.workload import Workload

MISSES = 3

if TYPE_CHECKING:
    from advisor.ruling import Ruling


def recommendation_document(
    result: Recommendation,
    target: Target,
    workload: Workload,
    *,
    top: int,
    confirmations: tuple[Confirmation, ...] = (),
    ruling: Ruling | None = None,
) -> RecommendationDocument:
    """The first `top` deployments; where there is none, the nearest misses with what would let them in."""
    shown = tuple(
        deployment_view(candidate, target, workload, rank=rank, pareto=candidate.model.id in result.pareto)
        for rank, candidate in enumerate(result.ranked[:top], start=1)
    )
    misses = () if result.ranked else tuple(_miss(miss, target, workload) for miss in _nearest(result))
    return RecommendationDocument(
        device=device_summary(target),
        workload=workload,
        recommendations=shown,
        considered=len(result.ranked) + len(result.excluded),
        fitting=len(result.ranked),
        ruled_out=result.ruled_out(),
        nearest_misses=misses,
        confirmations=confirmations,
        notes=_notes(target) + policy_notes(ruling, result.ranked[:top]),
    )


def explanation_document(
    explanation: Explanation, target: Target, workload: Workload, *, ruling: Ruling | None = None
) -> ExplanationDocument:
    candidate = explanation.candidate
    return ExplanationDocument(
        device=device_summary(target),
        workload=workload,
        model=explanation.model.id,
        name=explanation.model.name,
        quant=explanation.quant,
        fits=explanation.fits,
        summary=_summary(explanation),
        deployment=None if candidate is None else deployment_view(candidate, target, workload),
        shortfalls=tuple(shortfall_view(shortfall) for shortfall in explanation.shortfalls),
        changes=tuple(change_view(change) for change in explanation.changes),
        together=tuple(change_view(change) for change in explanation.together),
        variants=tuple(_verdict(variant) for variant in explanation.variants),
        notes=_notes(target) + policy_notes(ruling, () if candidate is None else (candidate,)),
    )


def deployment_view(
    candidate: Candidate,
    target: Target,
    workload: Workload,
    *,
    rank: int | None = None,
    pareto: bool | None = None,
) -> DeploymentView:
    model, variant, speed, memory = candidate.model, candidate.variant, candidate.speed, candidate.memory
    assert model.architecture is not None
    settings = candidate.settings
    return DeploymentView(
        rank=rank,
        model=model.id,
        name=model.name,
        family=model.family,
        parameters=model.parameters,
        parameters_active=model.parameters_active,
        quant=variant.quant,
        file_bytes=variant.file_bytes,
        bits_per_weight=round(variant.bits_per_weight, 4),
        needs_imatrix=variant.needs_imatrix,
        backend=candidate.place.processor.backend,
        processor=candidate.place.processor.name,
        settings=SettingsView(
            context_length=settings.context_length,
            type_k=settings.type_k,
            type_v=settings.type_v,
            micro_batch=settings.micro_batch,
            offload_layers=settings.offload_layers,
            n_layer=model.architecture.n_layer,
            threads=settings.threads,
            threads_batch=settings.threads_batch,
        ),
        memory=MemoryView(
            reserved_bytes=memory.reserved,
            resident_bytes=memory.resident,
            host_bytes=memory.host_bytes,
            accelerator_bytes=memory.accelerator_bytes,
            host_budget_bytes=target.host_bytes,
            accelerator_budget_bytes=candidate.place.memory_bytes,
            terms=memory.terms(),
        ),
        pp_tokens_per_s=None if speed is None else speed.pp,
        tg_tokens_per_s=None if speed is None else speed.tg,
        ttft_s=None if speed is None else speed.ttft_s,
        speed_terms={} if speed is None else _speed_terms(speed),
        measurements=() if speed is None else speed.origins,
        quality=_quality(candidate),
        score=ScoreView(
            total=candidate.score.total,
            quality=candidate.score.quality,
            caution=candidate.score.caution,
            speed=candidate.score.speed,
            memory=candidate.score.memory,
        ),
        pareto=pareto,
        license=model.license,
        license_class=model.license_class,
        gated=model.gated,
        weights=model.weights,
        gguf_repos=model.gguf_repos,
        ollama=model.ollama,
        shortfalls=tuple(shortfall_view(shortfall) for shortfall in candidate.shortfalls),
        why=reasons(candidate, target, workload),
    )


def device_summary(target: Target) -> DeviceSummary:
    memory = target.device.memory
    place = next((place for place in target.usable_places if place.memory_bytes is not None), None)
    return DeviceSummary(
        name=target.device.name,
        class_=target.device.class_,
        processors=tuple(
            f"{place.processor.name or 'unnamed'} ({place.processor.backend})" for place in target.places
        ),
        budget=target.budget,
        host_budget_bytes=target.host_bytes,
        budget_now_bytes=memory.budget_now_bytes,
        budget_cleared_bytes=memory.budget_cleared_bytes,
        accelerator_budget_bytes=None if place is None else place.memory_bytes,
        accelerator_shares_memory=place is not None and place.shared,
    )


def shortfall_view(shortfall: Shortfall) -> ShortfallView:
    return ShortfallView(
        constraint=shortfall.constraint,
        needed=shortfall.needed,
        available=shortfall.available,
        message=describe(shortfall),
    )


def change_view(change: Change) -> ChangeView:
    return ChangeView(change=change.change, value=change.value, message=change.message)


def policy_notes(ruling: Ruling | None, chosen: Sequence[Candidate]) -> tuple[str, ...]:
    """The exceptions of the policy that the chosen make use of, and those that have expired."""
    if ruling is None:
        return ()
    return ruling.notes((candidate.model, candidate.variant) for candidate in chosen)


def _nearest(result: Recommendation) -> list[Exclusion]:
    tried = [exclusion for exclusion in result.excluded if exclusion.nearest is not None]
    return sorted(tried, key=lambda miss: miss.nearest.severity if miss.nearest else 0.0)[:MISSES]


def _miss(miss: Exclusion, target: Target, workload: Workload) -> MissView:
    assert miss.nearest is not None
    explanation = explain(miss.model, None, target, workload)
    return MissView(
        deployment=deployment_view(miss.nearest, target, workload),
        changes=tuple(change_view(change) for change in explanation.changes),
        together=tuple(change_view(change) for change in explanation.together),
    )


def _quality(candidate: Candidate) -> QualityView:
    quality = candidate.quality
    loss = quality.loss
    return QualityView(
        value=quality.value,
        low=quality.low,
        high=quality.high,
        axes={use.axis: use.value for use in quality.axes},
        quantization_loss=None
        if loss is None
        else LossView(points=loss.points.value, low=loss.points.low, high=loss.points.high),
        sources=quality.sources,
        notes=quality.notes,
    )


def _speed_terms(speed: SpeedEstimate) -> dict[str, float]:
    """Seconds by what they are spent on: of one generated token, and of the whole prompt."""
    token, prompt = speed.decode, speed.prompt
    terms = {"token: overhead": token.overhead_s}
    terms |= {f"token: {kind} weights": spent for kind, spent in token.weights_s.items()}
    terms |= {
        "token: recurrent state": token.state_s,
        "token: KV cache": token.kv_cache_s,
        "token: transfer": token.transfer_s,
        "prompt: overhead": prompt.overhead_s,
        "prompt: matrices": prompt.matrices_s,
        "prompt: attention": prompt.attention_s,
        "prompt: weights": prompt.weights_s,
        "prompt: transfer": prompt.transfer_s,
    }
    return {name: spent for name, spent in terms.items() if spent > 0}


def _verdict(candidate: Candidate) -> VariantVerdict:
    return VariantVerdict(
        quant=candidate.variant.quant,
        bits_per_weight=round(candidate.variant.bits_per_weight, 2),
        file_bytes=candidate.variant.file_bytes,
        fits=candidate.feasible,
        memory_bytes=candidate.memory.reserved_high_bytes,
        tg_tokens_per_s=None if candidate.speed is None else candidate.speed.tg,
        quality=candidate.quality.value,
        shortfalls=tuple(shortfall_view(shortfall) for shortfall in candidate.shortfalls),
    )


def _summary(explanation: Explanation) -> str:
    name = explanation.model.name + (f":{explanation.quant}" if explanation.quant else "")
    if explanation.fits:
        assert explanation.candidate is not None
        if explanation.quant:
            return _("{model} fits").format(model=name)
        return _("{model} fits as {quant}").format(model=name, quant=explanation.candidate.variant.quant)
    said = "; ".join(describe(shortfall) for shortfall in explanation.shortfalls)
    return _("{model} is ruled out: {reasons}").format(model=name, reasons=said)


def _notes(target: Target) -> tuple[str, ...]:
    notes = []
    unverified = [
        field
        for field, source in target.device.sources.items()
        if "unverified" in source and "bandwidth" in field
    ]
    if unverified:
        notes.append(_("the memory bandwidth of this device is not from a checked source; speeds may be off"))
    notes.extend(
        f"memory: {note.message}"
        for note in target.device.notes
        if note.field == "memory.total_bytes" and "smallest" in note.message and target.budget != "given"
    )
    measured = target.device.memory.measured_bandwidth_bytes_per_s
    if measured is not None:
        notes.append(
            _("speeds rest on a memory bandwidth of {rate:.0f} GB/s, measured on this machine").format(
                rate=measured / 1e9
            )
        )
    return tuple(notes)
