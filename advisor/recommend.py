"""The recommendation: one deployment a model, best first, with what ruled the others out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from advisor.candidates import Candidate, Shortfall, exclusions, search
from advisor.catalog import Model
from advisor.errors import InvalidInputError
from advisor.language import marked
from advisor.licenses import check_licenses
from advisor.score import sort_key
from advisor.target import Target
from advisor.workload import Workload

if TYPE_CHECKING:
    from advisor.ruling import Ruling


class Exclusion(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is not in the list: what rules it out, and the candidate that came nearest, if one was tried."""

    model: Model
    shortfalls: tuple[Shortfall, ...]
    nearest: Candidate | None = None


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """`ranked` is best first, one candidate a model; `pareto` holds the ids of the models on the front."""

    ranked: tuple[Candidate, ...]
    pareto: frozenset[str]
    excluded: tuple[Exclusion, ...]

    def ruled_out(self) -> dict[str, int]:
        """How many models each constraint rules out, the first one of each model counted."""
        counts = Counter(exclusion.shortfalls[0].constraint for exclusion in self.excluded)
        return dict(counts.most_common())


def recommend(
    models: Iterable[Model], target: Target, workload: Workload, *, ruling: Ruling | None = None
) -> Recommendation:
    """Rank the models for a workload on a target; `ruling` leaves only what a policy allows.

    Raises InvalidInputError for a family, licence or language that no model of the catalog has.
    """
    models = tuple(models)
    check_licenses(workload.licenses, models)
    check_families(workload.families, models)
    _check_languages(workload.languages, models)
    ranked: list[Candidate] = []
    excluded: list[Exclusion] = []
    for model in models:
        shortfalls = exclusions(model, workload)
        if ruling is not None:
            model, forbidden = ruling.narrowed(model)
            shortfalls += forbidden
        if shortfalls:
            excluded.append(Exclusion(model=model, shortfalls=shortfalls))
            continue
        found = search(model, target, workload)
        if found.best is not None:
            ranked.append(found.best)
        else:
            missing = found.nearest.shortfalls if found.nearest is not None else (NO_PROCESSOR,)
            excluded.append(Exclusion(model=model, shortfalls=missing, nearest=found.nearest))
    ranked.sort(key=_order)
    return Recommendation(ranked=tuple(ranked), pareto=pareto_front(ranked), excluded=tuple(excluded))


NO_PROCESSOR = Shortfall(
    constraint="no estimate", reason=marked("the device has no processor that llama.cpp can use")
)


def pareto_front(ranked: Sequence[Candidate]) -> frozenset[str]:
    """Ids of the models that no other beats in quality, decode speed and memory at once.

    A model of unknown quality is never on the front: there is nothing to compare.
    """
    points = [
        (
            candidate.quality.value,
            candidate.speed.tg.value,
            -candidate.memory.reserved_high_bytes,
            candidate.model.id,
        )
        for candidate in ranked
        if candidate.quality.value is not None and candidate.speed is not None
    ]
    front = set()
    for quality, speed, memory, name in points:
        beaten = any(
            q >= quality and s >= speed and m >= memory and (q, s, m) != (quality, speed, memory)
            for q, s, m, _ in points
        )
        if not beaten:
            front.add(name)
    return frozenset(front)


def _order(candidate: Candidate) -> tuple[int, float, str]:
    tg = candidate.speed.tg.value if candidate.speed is not None else 0.0
    return (*sort_key(candidate.score.total, tg), candidate.model.id)


def check_families(wanted: tuple[str, ...], models: tuple[Model, ...]) -> None:
    """Refuse a family that no model of the catalog has.

    Raises InvalidInputError with the families there are.
    """
    from advisor.catalog import family_matches

    families = sorted({model.family for model in models})
    for word in wanted:
        if not any(family_matches(family, (word,)) for family in families):
            raise InvalidInputError(f"family '{word}' is not in the catalog; choose of {', '.join(families)}")


def _check_languages(wanted: tuple[str, ...], models: tuple[Model, ...]) -> None:
    known = {language for model in models for language in model.languages or ()}
    for code in wanted:
        if code not in known:
            raise InvalidInputError(
                f"language '{code}' is in no model's list; codes are ISO 639-1, such as ja, zh, ko, en: "
                f"choose of {', '.join(sorted(known))}"
            )
