"""Confirming a recommendation: its first candidates are run here, and the list is made again from what that gave.

The running is handed in, so that the loop itself is pure and can be tried without an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

import msgspec

from advisor.candidates import Candidate
from advisor.catalog import Model
from advisor.evidence import Value
from advisor.measured_speed import KnownSpeeds, known_speeds
from advisor.measurements import Measurement
from advisor.recommend import Recommendation, recommend
from advisor.target import Target
from advisor.workload import Workload

if TYPE_CHECKING:
    from advisor.ruling import Ruling

PROBES_PER_CANDIDATE = 2  # a list whose head keeps changing is given up after this many probes a place

Outcome = Literal["probed", "failed", "refused"]


class Failure(msgspec.Struct, frozen=True):
    """A candidate that could not be run. `refused`: by the engine, which will refuse it every time."""

    reason: str
    refused: bool


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate that was to be run, the decode speed that was expected, and what came of it."""

    model: str
    name: str
    quant: str
    outcome: Outcome
    expected_tg: Value | None
    found_tg: Value | None  # None where it could not be run
    reason: str | None = None


class Confirmed(msgspec.Struct, frozen=True, kw_only=True):
    """The list with what was measured in it. `complete`: all of the first are run, or cannot be."""

    recommendation: Recommendation
    target: Target
    confirmations: tuple[Confirmation, ...]
    complete: bool


Run = Callable[[Candidate], tuple[Measurement, ...] | Failure]
"""Runs a candidate: a measurement of its prompt and one of its answer, or why there is none."""


def confirm(
    models: Iterable[Model],
    target: Target,
    workload: Workload,
    count: int,
    run: Run,
    *,
    report: Callable[[Candidate, int, int], None] = lambda *_: None,
    ruling: Ruling | None = None,
) -> Confirmed:
    """Run the first `count` candidates and rank again, until the first `count` of the list have all been run.

    At most twice as many are run. What the engine refuses is taken out of the list, what fails for another reason
    keeps its estimate. `report` is told the candidate, which run it is, and how many there may be. Errors that
    `run` raises end it.
    """
    models = list(models)
    done: list[Confirmation] = []
    tried: set[tuple[str, str]] = set()
    while True:
        ranked = recommend(models, target, workload, ruling=ruling)
        candidate = next((c for c in ranked.ranked[:count] if _open(c, tried)), None)
        if candidate is None or len(done) >= PROBES_PER_CANDIDATE * count:
            return Confirmed(
                recommendation=ranked,
                target=target,
                confirmations=tuple(done),
                complete=candidate is None,
            )
        report(candidate, len(done) + 1, PROBES_PER_CANDIDATE * count)
        tried.add((candidate.model.id, candidate.variant.quant))
        result = run(candidate)
        done.append(_confirmation(candidate, result))
        if not isinstance(result, Failure):
            target = _knowing(target, result)
        elif result.refused:
            models = [_without(model, candidate) for model in models]


def _open(candidate: Candidate, tried: set[tuple[str, str]]) -> bool:
    """Whether it was neither run nor tried in vain. Both speeds count: a measured tg leaves the prompt open."""
    if (candidate.model.id, candidate.variant.quant) in tried:
        return False
    run = ("probed", "measured")
    speed = candidate.speed
    return speed is None or speed.tg.evidence not in run or speed.pp.evidence not in run


def _confirmation(candidate: Candidate, result: tuple[Measurement, ...] | Failure) -> Confirmation:
    outcome: Outcome = "probed"
    reason: str | None = None
    found: Value | None = None
    if isinstance(result, Failure):
        outcome, reason = ("refused" if result.refused else "failed"), result.reason
    else:
        found = next((each.tg for each in result if each.tg is not None), None)
    return Confirmation(
        model=candidate.model.id,
        name=candidate.model.name,
        quant=candidate.variant.quant,
        outcome=outcome,
        expected_tg=None if candidate.speed is None else candidate.speed.tg,
        found_tg=found,
        reason=reason,
    )


def _knowing(target: Target, found: tuple[Measurement, ...]) -> Target:
    known = [each for all_ in target.known_speeds.by_load.values() for each in all_]
    speeds: KnownSpeeds = known_speeds([*known, *found])
    return msgspec.structs.replace(target, known_speeds=speeds)


def _without(model: Model, candidate: Candidate) -> Model:
    """The model without the variant that was refused; models of the same weights keep theirs until they are tried."""
    if model.id != candidate.model.id:
        return model
    variants = tuple(each for each in model.variants if each.quant != candidate.variant.quant)
    unsupported = model.unsupported if variants else "the engine on this device refuses it"
    return msgspec.structs.replace(model, variants=variants, unsupported=unsupported)
