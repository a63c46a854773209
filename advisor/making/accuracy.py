"""`make accuracy`: how well speeds are predicted for chips that the fit has not seen.

    python -m advisor.making.accuracy [--write]

For each chip the coefficients are fitted without any of its rows and its rows are predicted as the product would
(`estimate_speed`). Printed by class and by backend: the median error, the share within 30% and how often the 80%
interval holds the measurement, for token generation and prompt processing; and the same of a flat fraction of
bandwidth (or of arithmetic) per backend, fitted without the chip too. `--write` fits on all rows and writes
advisor/speed.json with the intervals these errors call for.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from advisor.making.measurements import MEASUREMENTS, Measurement, read_measurements
from advisor.making.speed import Fitted, coefficients_of, fit_all
from advisor.speed import predict
from advisor.speed_coefficients import COEFFICIENTS_FILE, Coefficients

Floats = npt.NDArray[np.float64]

PARENT_WEIGHT = 2.0  # chips' worth of the whole backend family's errors in each group's interval
NOMINAL = 0.80
Intervals = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Judged:
    """A row with its prediction by a fit that had not seen its chip. Errors are ln(measured / predicted)."""

    row: Measurement
    predicted: float
    flat: float
    alone: bool  # no other chip runs on this backend: the fit had nothing but its prior

    @property
    def error(self) -> float:
        return math.log(self.row.rate / self.predicted)

    @property
    def relative(self) -> float:
        return abs(self.predicted / self.row.rate - 1)

    @property
    def group(self) -> str:
        """The interval that the run time would use."""
        return f"{self.row.test}/{self.row.processor.class_}/{self.row.processor.backend}"

    @property
    def family(self) -> str:
        return f"{self.row.test}/{'cpu' if self.row.processor.backend == 'cpu' else 'accelerator'}"


def leave_one_chip_out(rows: Sequence[Measurement], everything: Fitted) -> list[Judged]:
    """Each row as predicted by fits on the other chips."""
    by_chip: dict[str, list[Measurement]] = defaultdict(list)
    for row in rows:
        by_chip[row.chip].append(row)
    chips_of = defaultdict(set)
    for row in rows:
        chips_of[row.processor.backend].add(row.chip)
    judged = []
    for chip, own in sorted(by_chip.items()):
        others = [row for row in rows if row.chip != chip]
        fitted = coefficients_of(fit_all(others, everything), {"tg": (1.0, 1.0), "pp": (1.0, 1.0)}, {})
        fractions = flat_fractions(others)
        for row in own:
            alone = chips_of[row.processor.backend] == {chip}
            judged.append(Judged(row, rate_of(fitted, row), flat_rate(fractions, row), alone))
    return judged


def rate_of(fitted: Coefficients, row: Measurement) -> float:
    """The rate that the run time would give with these coefficients."""
    estimate = predict(
        fitted,
        row.processor,
        row.load,
        n_prompt=row.n_prompt,
        n_gen=row.n_gen,
        depth=row.depth,
        threads=row.threads,
        flash_attention=row.flash_attention,
    )
    return estimate.tg.value if row.test == "tg" else estimate.pp.value


def _ceiling(row: Measurement) -> float:
    """Tokens per second if the data sheet's bandwidth (or arithmetic) were all there is to it."""
    if row.test == "tg":
        return (row.processor.bandwidth_bytes_per_s or 0.0) / sum(group.bytes_ for group in row.load.weights)
    work = 2 * sum(group.weights - group.head_weights for group in row.load.weights)
    processor = row.processor
    cores = processor.core_rate * (row.threads or processor.threads)
    return (processor.shader_flops or cores or processor.bandwidth_bytes_per_s or 0.0) / work


def flat_fractions(rows: Iterable[Measurement]) -> dict[str, float]:
    """The baseline: one fraction of the ceiling for each test and backend, the median of its chips' medians."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for key in (f"{row.test}/{row.processor.backend}", row.test):
            found[key][row.chip].append(row.rate / _ceiling(row))
    return {key: float(np.median([np.median(own) for own in chips.values()])) for key, chips in found.items()}


def flat_rate(fractions: dict[str, float], row: Measurement) -> float:
    return fractions.get(f"{row.test}/{row.processor.backend}", fractions[row.test]) * _ceiling(row)


def intervals_of(judged: Sequence[Judged], stretch: dict[str, float]) -> Intervals:
    """80% intervals as factors on the predicted rate, from the errors on unseen chips.

    A group's interval lies between its 10% and 90% quantiles. A chip counts as the square root of its rows, and
    the errors of all accelerators (or CPUs) count as a few more chips, since the next chip of a small group need
    not be like those in it.
    """
    pools: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        if not one.alone:
            for key in (one.group, one.family, f"{one.row.test}/{one.row.processor.backend}", one.row.test):
                pools[key].append(one)
    found: Intervals = {}
    for key, own in pools.items():
        test = own[0].row.test
        parent = pools[own[0].family] if key.count("/") == 2 else own
        errors, weights = _weighted(own, 1.0)
        more_errors, more_weights = _weighted(parent, PARENT_WEIGHT / len({one.row.chip for one in parent}))
        low, high = _quantiles(np.concatenate([errors, more_errors]), np.concatenate([weights, more_weights]))
        low, high = min(low, -0.02), max(high, 0.02)
        found[key if key != own[0].family else f"{test}"] = (
            math.exp(low * stretch[test]),
            math.exp(high * stretch[test]),
        )
    return {key: (round(low, 3), round(high, 3)) for key, (low, high) in sorted(found.items())}


def _weighted(judged: Sequence[Judged], scale: float) -> tuple[Floats, Floats]:
    chips = Counter(one.row.chip for one in judged)
    return (
        np.array([one.error for one in judged]),
        np.array([scale / math.sqrt(chips[one.row.chip]) for one in judged]),
    )


def _quantiles(errors: Floats, weights: Floats) -> tuple[float, float]:
    order = np.argsort(errors)
    share = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    tail = (1 - NOMINAL) / 2
    return float(np.interp(tail, share, errors[order])), float(np.interp(1 - tail, share, errors[order]))


def covered(judged: Sequence[Judged], stretch: dict[str, float]) -> list[bool]:
    """Whether each row lies in the interval that the errors on all other chips give."""
    chips = {one.row.chip for one in judged}
    result = {}
    for chip in chips:
        intervals = intervals_of([one for one in judged if one.row.chip != chip], stretch)
        for number, one in enumerate(judged):
            if one.row.chip == chip:
                low, high = interval_for(intervals, one)
                result[number] = low <= one.row.rate / one.predicted <= high
    return [result[number] for number in range(len(judged))]


def interval_for(intervals: Intervals, one: Judged) -> tuple[float, float]:
    keys = (one.group, f"{one.row.test}/{one.row.processor.backend}", one.row.test)
    return next(intervals[key] for key in keys if key in intervals)


def calibrate(judged: Sequence[Judged]) -> float:
    """The factor on ln(interval) that makes 80% of the rows of unseen chips fall inside."""
    low, high = 0.4, 2.5
    for _ in range(7):
        middle = math.sqrt(low * high)
        if np.mean(covered(judged, {judged[0].row.test: middle})) < NOMINAL:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


def table(judged: Sequence[Judged], inside: Sequence[bool]) -> str:
    """The errors by class and by backend, as text."""
    lines = [
        f"{'':34s}  chips rows  median by chip in 30%  cover     flat  in 30%",
    ]
    for test, title in (("tg", "token generation"), ("pp", "prompt processing")):
        lines.append(title)
        chosen = [number for number, one in enumerate(judged) if one.row.test == test]
        groups: dict[str, list[int]] = defaultdict(list)
        for number in chosen:
            one = judged[number]
            groups["all"].append(number)
            if not one.alone:
                groups["all, backends of two chips or more"].append(number)
            groups["class " + one.row.class_].append(number)
            groups["backend " + one.row.processor.backend].append(number)
        for name, numbers in sorted(groups.items()):
            lines.append(_line(name, [judged[n] for n in numbers], [inside[n] for n in numbers]))
    return "\n".join(lines)


def _line(name: str, own: Sequence[Judged], inside: Sequence[bool]) -> str:
    by_chip: dict[str, list[float]] = defaultdict(list)
    for one in own:
        by_chip[one.row.chip].append(one.relative)
    flat = np.array([abs(one.flat / one.row.rate - 1) for one in own])
    errors = np.array([one.relative for one in own])
    return (
        f"  {name[:34]:34s} {len(by_chip):4d} {len(own):4d} {np.median(errors):7.1%} "
        f"{np.median([np.median(each) for each in by_chip.values()]):7.1%} {np.mean(errors <= 0.3):6.0%} "
        f"{np.mean(inside):6.0%}   {np.median(flat):6.1%} {np.mean(flat <= 0.3):7.0%}"
    )


def summary(judged: Sequence[Judged], inside: Sequence[bool]) -> dict[str, dict[str, float]]:
    """What speed.json says about itself."""
    found = {}
    for test in ("tg", "pp"):
        chosen = [n for n, one in enumerate(judged) if one.row.test == test]
        errors = [judged[n].relative for n in chosen]
        found[test] = {
            "chips": len({judged[n].row.chip for n in chosen}),
            "rows": len(chosen),
            "median_error": round(float(np.median(errors)), 3),
            "within_30_percent": round(float(np.mean([error <= 0.3 for error in errors])), 3),
            "interval_coverage": round(float(np.mean([inside[n] for n in chosen])), 3),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write advisor/speed.json")
    arguments = parser.parse_args()
    rows, left_out = read_measurements()
    everything = fit_all(rows)
    judged = leave_one_chip_out(rows, everything)
    stretch = {test: calibrate([one for one in judged if one.row.test == test]) for test in ("tg", "pp")}
    inside = covered(judged, stretch)
    print(f"{len(rows)} rows of {len({row.chip for row in rows})} chips; left out:")
    for reason, count in left_out.most_common():
        print(f"  {count:4d}  {reason}")
    print(table(judged, inside))
    if arguments.write:
        provenance: dict[str, object] = {
            "fitted_on": "advisor/making/data/measurements.csv",
            "sha256": hashlib.sha256(MEASUREMENTS.read_bytes()).hexdigest(),
            "date": datetime.date.today().isoformat(),
            "left_out": dict(left_out.most_common()),
            "leave_one_chip_out": summary(judged, inside),
        }
        written = coefficients_of(everything, intervals_of(judged, stretch), provenance)
        COEFFICIENTS_FILE.write_bytes(msgspec.json.format(msgspec.json.encode(written), indent=1) + b"\n")
        print(f"wrote {COEFFICIENTS_FILE}")


if __name__ == "__main__":
    main()
