"""A policy held against a catalog: which variants of each model it allows, and what rules the others out.

No rule depends on the device, so one ruling serves for a fleet of them.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

import msgspec

from advisor.candidates import Shortfall, exclusions
from advisor.catalog import Model, Variant
from advisor.explain import Explanation, explain, other_quant
from advisor.local_files import Shelf, usual_folders
from advisor.policy import Facts, Policy, PolicyException, Violation, exception_text, violations
from advisor.quantization_loss import body_weights_of, variant_loss
from advisor.search import best_of
from advisor.target import Target
from advisor.workload import Workload


class Ruling:
    """What a policy says of the models of a catalog on a day."""

    def __init__(self, policy: Policy, today: datetime.date) -> None:
        self.policy = policy
        self.today = today
        self._narrowed: dict[int, tuple[Model, Model, tuple[Shortfall, ...]]] = {}
        self._shelf: Shelf | None = None
        if policy.offline_only:
            folders = policy.weight_folders
            self._shelf = Shelf(usual_folders() if folders is None else [Path(folder) for folder in folders])

    def violations(self, model: Model, variant: Variant) -> tuple[Violation, ...]:
        """The rules that a variant breaks, those with an exception included."""
        return violations(self.policy, facts_of(model, variant, self._shelf), self.today)

    def shortfalls(self, model: Model, variant: Variant) -> tuple[Shortfall, ...]:
        """What rules a variant out, as the decision has it; empty where it is allowed."""
        return tuple(
            Shortfall(constraint="policy", needed=each.allowed, available=each.found, reason=each.message)
            for each in self.violations(model, variant)
            if not each.excused
        )

    def narrowed(self, model: Model) -> tuple[Model, tuple[Shortfall, ...]]:
        """The model with the variants that are allowed; where none is, as it was, with what rules it out.

        What is told is what the variant lacks that breaks the fewest rules.
        """
        known = self._narrowed.get(id(model))
        if known is None or known[0] is not model:
            known = self._narrowed[id(model)] = (model, *self._narrow(model))
        return known[1], known[2]

    def _narrow(self, model: Model) -> tuple[Model, tuple[Shortfall, ...]]:
        kept: list[Variant] = []
        least: tuple[Shortfall, ...] = ()
        for variant in model.variants:
            found = self.shortfalls(model, variant)
            if not found:
                kept.append(variant)
            elif not least or len(found) < len(least):
                least = found
        if kept and len(kept) < len(model.variants):
            model = msgspec.structs.replace(model, variants=tuple(kept), body_weights=body_weights_of(model))
        return model, () if kept else least

    def notes(self, chosen: Iterable[tuple[Model, Variant]]) -> tuple[str, ...]:
        """The exceptions that let one of the chosen in, with the days left; and those that have expired."""
        used: dict[PolicyException, None] = {}
        for model, variant in chosen:
            for each in self.violations(model, variant):
                if each.excused and each.exception is not None:
                    used[each.exception] = None
        return tuple(exception_text(each, self.today) for each in (*used, *self.policy.expired(self.today)))


def explain_under(
    model: Model, quant: str | None, target: Target, workload: Workload, ruling: Ruling | None
) -> Explanation:
    """`explain`, with what a policy says first: no other change lets in what it rules out, but another quantization."""
    if ruling is None:
        return explain(model, quant, target, workload)
    allowed, forbidden = ruling.narrowed(model)
    open_ = not forbidden
    if quant is not None:
        forbidden = ruling.shortfalls(model, model.variant(quant))
    if not forbidden:
        return explain(allowed, quant, target, workload)
    explanation = explain(model, quant, target, workload)
    instead = best_of(allowed, target, workload) if open_ and not exclusions(model, workload) else None
    changes = () if instead is None or quant is None else (other_quant(instead.variant.quant, quant),)
    shortfalls = forbidden + explanation.shortfalls
    variants = tuple(
        msgspec.structs.replace(each, shortfalls=ruling.shortfalls(model, each.variant) + each.shortfalls)
        for each in explanation.variants
    )
    return msgspec.structs.replace(
        explanation, shortfalls=shortfalls, changes=changes, together=(), variants=variants
    )


def facts_of(model: Model, variant: Variant, shelf: Shelf | None) -> Facts:
    """What the catalog says of a variant; `shelf` holds the files at hand, None where nobody has looked."""
    loss = variant_loss(model, variant, "f16", "f16", 1.0)
    return Facts(
        model=model.id,
        name=model.name,
        family=model.family,
        license=model.license,
        license_class=model.license_class,
        parameters=model.parameters,
        quant=variant.quant,
        file_bytes=variant.file_bytes,
        perplexity_increase=loss.perplexity_increase_high,
        local=None if shelf is None else _at_hand(model, variant, shelf),
    )


def _at_hand(model: Model, variant: Variant, shelf: Shelf) -> bool:
    """A file of the variant is there, or a user's own weights, from which it can be built without a network."""
    if model.own and model.weights is not None and Path(model.weights).exists():
        return True
    return bool(shelf.files_of(model, variant.quant))
