"""How well a calibrated device predicts llama-bench, on models that the calibration never saw.

    python -m advisor.making.calibrated_accuracy measure --llama-bench PATH MODEL:QUANT.gguf …
    python -m advisor.making.calibrated_accuracy judge [--write]

`measure` adds one round to data/calibrated.json: a calibration as a user would make it, then llama-bench's pp512 and
tg128 of every file, which is named after a model and a quantization of the catalog (real weights or synthetic ones).
`judge` predicts every file of a round with the calibration of that round. Nothing is fitted on the files but the
80% interval: one pair of factors for generation and one for prompts, the 10% and 90% quantiles of ln(measured /
predicted). Whether it holds is judged for each model with the quantiles of all other models. `--write` writes the
factors of all to advisor/speed_calibrated.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from advisor.calibrate import calibrate
from advisor.catalog import load_catalog
from advisor.load import load_of
from advisor.processors import Processor, processors
from advisor.speed import estimate_speed
from advisor.speed_calibrated import INTERVALS_FILE, Intervals
from profiles.calibration import Calibration
from profiles.device import Device
from profiles.machine import Machine
from profiles.noise import cpu_times, taken
from profiles.resolve import resolve_device

DATA = Path(__file__).with_name("data") / "calibrated.json"
TESTS = {"tg": (0, 128), "pp": (512, 0)}
NOMINAL = 0.80
OTHERS = 0.05  # share of the CPUs that others may take while llama-bench runs


class Bench(msgspec.Struct, frozen=True):
    """llama-bench of one file: mean tokens per second of its repetitions."""

    model: str
    quant: str
    tg: float
    pp: float


class Round(msgspec.Struct, frozen=True):
    """A calibration and what llama-bench measured after it."""

    device: Device
    calibration: Calibration
    benches: tuple[Bench, ...]


class Judged(msgspec.Struct, frozen=True):
    model: str
    quant: str
    test: str
    measured: float
    predicted: float
    spec: float

    @property
    def error(self) -> float:
        return math.log(self.measured / self.predicted)

    @property
    def relative(self) -> float:
        return abs(self.predicted / self.measured - 1)


def measure(llama_bench: str, files: Sequence[Path]) -> Round:
    """One round on this machine; about a minute, and llama-bench's time."""
    device = resolve_device()
    calibration = calibrate(device, report=lambda step: print(f"{step.elapsed_s:3.0f} s {step.what}"))
    threads = calibration.backends[-1].threads
    benches = []
    for file in files:
        model, quant = file.stem.rsplit(":", 1)
        tests = ("-p", "512", "-n", "128", "-r", "3", "-t", str(threads), "-o", "json")
        command = [*llama_bench.split(), "-m", str(file), *tests]
        rows = json.loads(_quiet(command))
        rates = {("pp" if row["n_prompt"] else "tg"): float(row["avg_ts"]) for row in rows}
        benches.append(Bench(model, quant, rates["tg"], rates["pp"]))
        print(benches[-1])
    return Round(msgspec.structs.replace(device, calibration=None), calibration, tuple(benches))


def _quiet(command: Sequence[str]) -> bytes:
    """A command's output from a run in which others left the processor alone; the third is taken as it is."""
    for attempt in range(3):
        before, started, cpu = cpu_times(Machine()), time.monotonic(), _children_s()
        output = subprocess.run(command, check=True, capture_output=True).stdout
        after, seconds = cpu_times(Machine()), time.monotonic() - started
        if before is None or after is None:
            break
        others = taken(before, after, _children_s() - cpu, seconds)
        if others.others + others.steal < OTHERS * others.cpus:
            break
        print(f"others took {others.others:.2f} CPUs: {'again' if attempt < 2 else 'taken as it is'}")
    return output


def _children_s() -> float:
    return sum(os.times()[2:4])


def judge(rounds: Sequence[Round]) -> list[Judged]:
    """Every file of every round, predicted by the round's calibration and by the data sheet."""
    judged = []
    for each in rounds:
        sheet = processors(each.device)[-1]
        own = processors(msgspec.structs.replace(each.device, calibration=each.calibration))[-1]
        if sheet.bandwidth_bytes_per_s is None:
            sheet = msgspec.structs.replace(sheet, bandwidth_bytes_per_s=own.bandwidth_bytes_per_s)
        for bench in each.benches:
            for test in TESTS:
                judged.append(
                    Judged(
                        bench.model,
                        bench.quant,
                        test,
                        getattr(bench, test),
                        _predicted(own, bench, test),
                        _predicted(sheet, bench, test),
                    )
                )
    return judged


def _predicted(processor: Processor, bench: Bench, test: str) -> float:
    model = load_catalog().find(bench.model)
    n_prompt, n_gen = TESTS[test]
    made = estimate_speed(
        processor, load_of(model, model.variant(bench.quant)), n_prompt=n_prompt, n_gen=n_gen
    )
    assert made is not None
    return (made.tg if test == "tg" else made.pp).value


def interval(errors: Sequence[float]) -> tuple[float, float]:
    """Factors on the prediction between which 80% of further errors, ln(measured / predicted), will lie; around 1.

    Quantiles for one more draw, (n + 1) q, as conformal prediction takes them: those of a few errors among themselves
    would be too narrow for the next.
    """
    ordered = sorted(errors)

    def quantile(q: float) -> float:
        place = min(max(q * (len(ordered) + 1) - 1, 0.0), len(ordered) - 1.0)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    tail = (1 - NOMINAL) / 2
    return min(1.0, math.exp(quantile(tail))), max(1.0, math.exp(quantile(1 - tail)))


def coverage(judged: Sequence[Judged]) -> float:
    """How often the interval of all other models holds a measurement."""
    held = 0
    for each in judged:
        low, high = interval([other.error for other in judged if other.model != each.model])
        held += low <= math.exp(each.error) <= high
    return held / len(judged)


def table(judged: Sequence[Judged]) -> Iterator[str]:
    """Markdown: the median over the rounds of each model, then what the target asks for."""
    yield "| model | quantization | tg measured | calibrated | spec | pp measured | calibrated | spec |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for model, quant in dict.fromkeys((each.model, each.quant) for each in judged):
        cells = [model, quant]
        for test in TESTS:
            own = [e for e in judged if (e.model, e.quant, e.test) == (model, quant, test)]
            measured = statistics.median(e.measured for e in own)
            cells.append(f"{measured:.1f}")
            for name in ("predicted", "spec"):
                error = statistics.median(getattr(e, name) / e.measured - 1 for e in own)
                cells.append(f"{error:+.0%}")
        yield "| " + " | ".join(cells) + " |"
    for test in TESTS:
        own = [each for each in judged if each.test == test]
        low, high = interval([each.error for each in own])
        yield (
            f"\n{test}: {len(own)} predictions of {len({(e.model, e.quant) for e in own})} pairs; median error "
            f"{statistics.median(e.relative for e in own):.1%} (spec "
            f"{statistics.median(abs(e.spec / e.measured - 1) for e in own):.1%}), worst "
            f"{max(e.relative for e in own):.0%}, within 12% {sum(e.relative < 0.12 for e in own) / len(own):.0%}; "
            f"left-out interval holds {coverage(own):.0%}; factors {low:.3f} to {high:.3f}"
        )


def read_rounds() -> list[Round]:
    return msgspec.json.decode(DATA.read_bytes(), type=list[Round]) if DATA.exists() else []


def write_intervals(judged: Sequence[Judged], rounds: Sequence[Round]) -> None:
    """advisor/speed_calibrated.json, with how it was obtained."""
    own = {test: [each for each in judged if each.test == test] for test in TESTS}
    made = Intervals(
        tg=_rounded(interval([each.error for each in own["tg"]])),
        pp=_rounded(interval([each.error for each in own["pp"]])),
        provenance={
            "from": "advisor/making/data/calibrated.json",
            "machines": sorted(
                {f"{r.device.name}, {r.calibration.backends[-1].threads} threads" for r in rounds}
            ),
            "rounds": len(rounds),
            "pairs": len({(each.model, each.quant) for each in judged}),
            "median_error": {t: round(statistics.median(e.relative for e in own[t]), 3) for t in TESTS},
            "left_out_coverage": {t: round(coverage(own[t]), 3) for t in TESTS},
        },
    )
    INTERVALS_FILE.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")


def _rounded(pair: tuple[float, float]) -> tuple[float, float]:
    return round(pair[0], 3), round(pair[1], 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--llama-bench", required=True)
    measuring.add_argument("files", nargs="+", type=Path)
    judging = commands.add_parser("judge")
    judging.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rounds = read_rounds()
    if given.command == "measure":
        rounds.append(measure(given.llama_bench, given.files))
        DATA.write_bytes(msgspec.json.format(msgspec.json.encode(rounds), indent=1) + b"\n")
        return
    judged = judge(rounds)
    print("\n".join(table(judged)))
    if given.write:
        write_intervals(judged, rounds)


if __name__ == "__main__":
    main()
