"""The ledger: each prediction beside what was measured, and how well the estimates do on this device. Pure.

Only predictions made without the measurement they are held against are in it (`deployment_speed.predict_for`), and
of a test that was repeated the newest result counts.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from advisor.evidence import GRADES, Evidence, Value
from advisor.measurements import Measurement

NOMINAL = 0.80  # share of measurements that the intervals promise to hold
UNLIKELY = 0.05  # a share as low as seen would come about by chance less often than this
FEW = 4  # tests below which nothing is said
CLOSE = 0.15  # median error that is small enough to choose between models

Verdict = Literal["nothing", "too few", "trust", "trust the intervals", "do not trust"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One result. Rates are tokens per second; `error` is predicted / measured - 1, so +0.5 is half as much again."""

    at: str
    device: str
    engine: str
    model: str | None  # id in the catalog
    name: str  # MODEL:QUANT, or the file's name
    test: str
    speed: Literal["pp", "tg"]
    backend: str
    size_class: str | None
    tensor_type: str | None
    predicted: Value | None
    measured: Value
    error: float | None
    inside: bool | None  # the measured value lies in the predicted interval


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """How predictions of one grade did, all of them or those of a class. `None` stands for all."""

    grade: Evidence
    speed: str | None = None
    backend: str | None = None
    size_class: str | None = None
    tensor_type: str | None = None
    n: int
    median_error: float  # of |error|
    inside: float  # share of measurements in the 80% interval
    bias: float  # median of error: above 0 the estimates promise too much


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """Rows newest first, summaries by grade (best first) and by class, and what to make of them."""

    rows: tuple[Row, ...]
    grades: tuple[Group, ...]
    classes: tuple[Group, ...]
    verdict: Verdict
    advice: str


def make_ledger(found: Iterable[Measurement], name_of: Callable[[Measurement], str]) -> Ledger:
    """The ledger of measurements, oldest first; `name_of` says what people call the model."""
    found = tuple(found)
    rows = tuple(row for each in reversed(found) for row in _rows(each, name_of(each)))
    newest = {_subject(each): each for each in found}
    judged = [
        row
        for each in newest.values()
        for row in _rows(each, name_of(each))
        if row.predicted is not None and row.error is not None
    ]
    by_grade: dict[Evidence, list[Row]] = defaultdict(list)
    by_class: dict[tuple[Evidence, str, str, str | None, str | None], list[Row]] = defaultdict(list)
    for row in judged:
        assert row.predicted is not None
        grade = row.predicted.evidence
        by_grade[grade].append(row)
        by_class[grade, row.speed, row.backend, row.size_class, row.tensor_type].append(row)
    grades = tuple(_group(grade, by_grade[grade]) for grade in reversed(GRADES) if grade in by_grade)
    classes = tuple(
        _group(key[0], by_class[key], *key[1:])
        for key in sorted(by_class, key=lambda key: (-GRADES.index(key[0]), *map(str, key[1:])))
    )
    verdict, advice = _judge(grades, by_grade)
    return Ledger(rows=rows, grades=grades, classes=classes, verdict=verdict, advice=advice)


def size_class(parameters: int | None) -> str | None:
    """Models of about one size behave alike: overhead counts for the small ones, bandwidth for the large ones."""
    if parameters is None:
        return None
    steps = ((5e8, "below 0.5B"), (1.5e9, "0.5B-1.5B"), (4e9, "1.5B-4B"), (1e10, "4B-10B"))
    return next((text for limit, text in steps if parameters < limit), "10B and more")


def _rows(each: Measurement, name: str) -> list[Row]:
    rows = []
    pairs: tuple[tuple[Literal["pp", "tg"], Value | None, Value | None], ...] = (
        ("pp", each.pp, each.predicted_pp),
        ("tg", each.tg, each.predicted_tg),
    )
    for speed, measured, predicted in pairs:
        if measured is None:
            continue
        rows.append(
            Row(
                at=each.at,
                device=each.device,
                engine=each.engine,
                model=each.model,
                name=name,
                test=each.test,
                speed=speed,
                backend=each.backend,
                size_class=size_class(each.parameters),
                tensor_type=each.main_type,
                predicted=predicted,
                measured=msgspec.structs.replace(measured, evidence=each.evidence),
                error=None if predicted is None else predicted.value / measured.value - 1,
                inside=None if predicted is None else predicted.low <= measured.value <= predicted.high,
            )
        )
    return rows


_RESULTS = frozenset({"at", "pp", "tg", "predicted_pp", "predicted_tg", "file", "file_sha256", "engine"})


def _subject(each: Measurement) -> tuple[object, ...]:
    """What was tested how, on which device; a prediction of another grade is another subject."""
    asked = tuple(getattr(each, name) for name in each.__struct_fields__ if name not in _RESULTS)
    grades = tuple(value and value.evidence for value in (each.predicted_pp, each.predicted_tg))
    return (*asked, *grades)


def _group(
    grade: Evidence,
    rows: Sequence[Row],
    speed: str | None = None,
    backend: str | None = None,
    size: str | None = None,
    tensor_type: str | None = None,
) -> Group:
    errors = [row.error for row in rows if row.error is not None]
    return Group(
        grade=grade,
        speed=speed,
        backend=backend,
        size_class=size,
        tensor_type=tensor_type,
        n=len(errors),
        median_error=statistics.median(map(abs, errors)),
        inside=sum(bool(row.inside) for row in rows) / len(errors),
        bias=statistics.median(errors),
    )


def _judge(grades: Sequence[Group], by_grade: dict[Evidence, list[Row]]) -> tuple[Verdict, str]:
    """What to make of the estimates that would be used now: of the best grade that is not a run of the model."""
    general = [group for group in grades if group.grade in ("calibrated", "spec")]
    enough = [group for group in general if group.n >= FEW]
    if not enough:
        n = sum(group.n for group in general)
        measure = "measure with 'slm-advisor bench FILE.gguf' or 'slm-advisor probe MODEL:QUANT'"
        if not n:
            return (
                "nothing",
                f"No estimate has been held against a measurement on this device yet: {measure}.",
            )
        said = f"{n} test{'s' if n != 1 else ''} of an estimate"
        return "too few", f"{said}: too few to judge by; {measure}."
    group = enough[0]
    held = sum(bool(row.inside) for row in by_grade[group.grade])
    said = (
        f"Estimates from {'a calibration' if group.grade == 'calibrated' else 'data sheets'} are off by "
        f"{group.median_error:.0%} (median of {group.n}), and {held} of {group.n} measurements lie in the 80% interval"
    )
    calibrate = (
        "calibrate again while nothing else runs, or let 'slm-advisor recommend --confirm 3' run the candidates"
        if group.grade == "calibrated"
        else "run 'slm-advisor calibrate', which takes a minute"
    )
    if _chance_of_at_most(held, group.n) < UNLIKELY:
        return "do not trust", f"{said}: do not rely on them here; {calibrate}."
    if group.median_error <= CLOSE:
        return "trust", f"{said}: they can be relied on here."
    return (
        "trust the intervals",
        f"{said}: rely on the intervals rather than the values; to narrow them, {calibrate}.",
    )


def _chance_of_at_most(held: int, n: int) -> float:
    """That `held` or fewer of `n` lie inside where each does with chance NOMINAL (binomial distribution)."""
    return sum(math.comb(n, k) * NOMINAL**k * (1 - NOMINAL) ** (n - k) for k in range(held + 1))
