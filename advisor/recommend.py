"""The recommendation: one deployment a model, best first, with what ruled the others out. Pure."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from advisor.candidates import Candidate, Shortfall, exclusions
from advisor.catalog import Model
from advisor.errors import InvalidInputError
from advisor.language import marked
from advisor.licenses import check_licenses
from advisor.score import sort_key
from advisor.search import Choice, Tried, best, choices, nearest, openings
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


class Recommender:
    """The decision for one workload, ready to be made for any number of targets.

    What does not depend on the target is worked out once: which models the workload and the policy leave, and what
    each of their variants can be worth.
    """

    def __init__(self, models: Iterable[Model], workload: Workload, *, ruling: Ruling | None = None) -> None:
        """Raises InvalidInputError for a family, licence or language that no model of the catalog has."""
        models = tuple(models)
        check_licenses(workload.licenses, models)
        check_families(workload.families, models)
        _check_languages(workload.languages, models)
        self.workload = workload
        self._models: list[tuple[Model, tuple[Shortfall, ...], tuple[Choice, ...]]] = []
        for model in models:
            shortfalls = exclusions(model, workload)
            if ruling is not None:
                model, forbidden = ruling.narrowed(model)
                shortfalls += forbidden
            self._models.append((model, shortfalls, () if shortfalls else choices(model, workload)))

    def ranked(
        self, target: Target, most: int | None = None, *, tried: Tried | None = None
    ) -> list[Candidate]:
        """The best candidate of each model that has a feasible one, best first; with `most`, only the first so many.

        Models are searched in the order of what they could reach, until no other can come among the first.
        """
        open_ = [found for _, _, among in self._models if (found := openings(among, target))]
        # Scores of what nobody scored are no scores: such models come last, and one of them never excludes another.
        open_.sort(key=lambda found: (found[0].choice.quality().known, found[0].limit), reverse=True)
        ranked: list[Candidate] = []
        for found in open_:
            if most is not None and len(ranked) >= most:
                last = ranked[most - 1].score.total
                if last is not None and (not found[0].choice.quality().known or found[0].limit < last):
                    break
            candidate = best(found, target, tried)
            if candidate is not None:
                insort(ranked, candidate, key=_order)
        return ranked[:most]

    def smallest(self) -> tuple[Choice, ...] | None:
        """The choices of the model with the smallest variant; None where workload and policy leave no model."""
        left = [among for _, _, among in self._models if among]
        return min(left, key=lambda among: among[-1].variant.tensor_bytes, default=None)

    def recommend(self, target: Target) -> Recommendation:
        """The ranking, with what rules each other model out."""
        tried: Tried = {}
        ranked = self.ranked(target, tried=tried)
        fits = {candidate.model.id for candidate in ranked}
        excluded = (self._exclusion(*each, target, tried) for each in self._models if each[0].id not in fits)
        return Recommendation(ranked=tuple(ranked), pareto=pareto_front(ranked), excluded=tuple(excluded))

    def _exclusion(
        self,
        model: Model,
        shortfalls: tuple[Shortfall, ...],
        among: tuple[Choice, ...],
        target: Target,
        tried: Tried,
    ) -> Exclusion:
        if not among:
            return Exclusion(model=model, shortfalls=shortfalls)
        missing = nearest(among, target, tried)
        return Exclusion(
            model=model,
            shortfalls=missing.shortfalls if missing is not None else (NO_PROCESSOR,),
            nearest=missing,
        )


def recommend(
    models: Iterable[Model], target: Target, workload: Workload, *, ruling: Ruling | None = None
) -> Recommendation:
    """Rank the models for a workload on a target; `ruling` leaves only what a policy allows.

    Raises InvalidInputError for a family, licence or language that no model of the catalog has.
    """
    return Recommender(models, workload, ruling=ruling).recommend(target)


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
