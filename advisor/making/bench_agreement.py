"""Does `slm-advisor bench` say what llama-bench says? Both in turns on the same files, medians and ratios.

    python -m advisor.making.bench_agreement --llama-bench PATH MODEL.gguf …

llama-bench must be of the same llama.cpp as the engine and built with the same instruction sets. Each turn is one
process of each, two repetitions after a warm-up; the order changes from turn to turn, so that a drift of the
machine meets both alike. A turn begins when no other program takes much of the CPUs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from profiles.machine import Machine
from profiles.noise import HEAVY, look

Times = dict[str, list[float]]


def main() -> None:
    """Print a Markdown table; the exit code is 1 where a ratio is off by more than 5%."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("-p", default="512")
    parser.add_argument("-n", default="64")
    parser.add_argument("-t", default="2")
    given = parser.parse_args()
    print(f"| model | test | llama-bench | slm-advisor bench | ratio | turns |\n|{' --- |' * 6}")
    worst = 0.0
    for model in given.models:
        tests = ["-p", given.p, "-n", given.n, "-t", given.t, "-r", "2"]
        theirs, ours = _in_turns(given.llama_bench, model, tests, given.turns)
        for test in theirs:
            a, b = statistics.median(theirs[test]), statistics.median(ours[test])
            worst = max(worst, abs(b / a - 1))
            print(f"| {model.stem} | {test} | {a:.1f} | {b:.1f} | {b / a:.3f} | {given.turns} |", flush=True)
    sys.exit(worst > 0.05)


def _in_turns(llama_bench: str, model: Path, tests: list[str], turns: int) -> tuple[Times, Times]:
    """Tokens/s by test, of llama-bench and of ours."""
    theirs: Times = {}
    ours: Times = {}
    own = [sys.executable, "-c", "from advisor.cli.main import main; main()", "bench", str(model)]
    pairs = [
        ([llama_bench, "-m", str(model), "-o", "json", *tests], theirs),
        ([*own, "--under-load", "--output", "llama-bench", *tests], ours),
    ]
    for turn in range(turns):
        for command, times in pairs if turn % 2 == 0 else reversed(pairs):
            while (seen := look(Machine(), 1.0)) is not None and seen.shortage(seen.cpus) > HEAVY:
                pass
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            for row in json.loads(answer.stdout):
                name = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
                times.setdefault(name, []).append(statistics.median(row["samples_ts"]))
    return theirs, ours


if __name__ == "__main__":
    main()
