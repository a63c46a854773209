"""How well a probe tells the speed of the full model: both timed here, in turns.

    python -m advisor.making.probe_accuracy --llama-bench build/bin/llama-bench \
        SmolLM2-135M-Instruct:Q4_1=smollm2.gguf Llama-3.2-3B-Instruct:Q4_K_M

The full model is a file, or, where none is given, a synthetic one written whole. llama-bench times it (pp512 and
tg32 behind 512 tokens), then the probe times the model as it would choose to and in slices it is forced to take.
For a comparison that means something, llama-bench must be of the same llama.cpp, with the same build options.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import msgspec

from advisor.catalog import Model, Variant
from advisor.cli.options import split_model
from advisor.estimate import choose_place, make_settings
from advisor.probe import probe
from advisor.probe_plan import slice_sizes
from advisor.sizes import tensor_types
from advisor.target import make_target
from advisor.workload import make_workload
from profiles.engine.client import Engine
from profiles.resolve import resolve_device
from profiles.scratch import scratch_folder
from profiles.throughput import require
from quantize.synthetic import SAMPLE_BLOCKS, sampled_types, synthetic_bytes, write_synthetic

N_PROMPT, N_GEN = 512, 32


class Outcome(msgspec.Struct, frozen=True):
    """One probe beside one run of llama-bench: errors of pp and tg as shares, and whether the interval held it."""

    model: str
    how: str
    pp: float
    tg: float
    inside: tuple[bool, bool]
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="+", metavar="MODEL:QUANT[=FILE]")
    parser.add_argument("--llama-bench", required=True, type=Path)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--only", choices=("chosen", "slices"), help="one of the two kinds of probe")
    options = parser.parse_args()
    found: list[Outcome] = []
    for text in options.models:
        name, _, file = text.partition("=")
        model, quant = split_model(name)
        assert quant is not None
        found += compare(model, model.variant(quant), file, options.llama_bench, options.turns, options.only)
    for how in sorted({one.how for one in found}):
        errors = [one for one in found if one.how == how]
        medians = [statistics.median(abs(getattr(one, test)) for one in errors) for test in ("pp", "tg")]
        inside = [ok for one in errors for ok in one.inside]
        print(
            f"{how}: median error pp {medians[0]:.1%}, tg {medians[1]:.1%}; {sum(inside)} of {len(inside)} "
            f"inside the 80% interval; slowest {max(one.seconds for one in errors):.0f} s"
        )


def compare(
    model: Model, variant: Variant, file: str, bench: Path, turns: int, only: str | None
) -> list[Outcome]:
    """Time a model and its probes `turns` times."""
    arch = model.architecture
    assert arch is not None
    with Engine() as engine:
        types = tensor_types(arch, variant.quant, engine)
        blocks = require(engine.sample_blocks(sampled_types(types.values()), SAMPLE_BLOCKS)).data
    slices = (slice_sizes(arch, types, variant.output_bytes, None) or [_thirds(arch.n_layer)])[0]
    kinds = [kind for kind in ("chosen", "slices") if only in (None, kind)]
    outcomes = []
    with scratch_folder(synthetic_bytes(arch, types)) as scratch:
        path = Path(file) if file else scratch.path / "full.gguf"
        if not file:
            write_synthetic(arch, types, path, blocks)
        for _ in range(turns):
            full = _llama_bench(bench, path)
            for kind in kinds:
                outcome = _probe(model, variant, full, slices if kind == "slices" else None)
                outcomes.append(outcome)
                print(
                    f"{outcome.model:36} {outcome.how:24} pp {full[0]:7.1f} {outcome.pp:+6.1%}  "
                    f"tg {full[1]:6.1f} {outcome.tg:+6.1%}  {outcome.seconds:3.0f} s",
                    flush=True,
                )
    return [msgspec.structs.replace(one, how=one.how.split()[0]) for one in outcomes]


def _probe(
    model: Model, variant: Variant, full: tuple[float, float], slices: tuple[int, ...] | None
) -> Outcome:
    workload = make_workload(prompt_tokens=N_PROMPT, answer_tokens=N_GEN)
    target = make_target(resolve_device(None), workload, strict=False)
    place = choose_place(target, "cpu")
    settings = make_settings(place, model, context_length=workload.context_length)
    result = probe(
        model,
        variant,
        target,
        place,
        settings,
        n_prompt=N_PROMPT,
        n_gen=N_GEN,
        slices=slices,
        strict=False,
        report=lambda text: print(f"  {text}", file=sys.stderr),
    )
    pp, tg = full
    return Outcome(
        f"{model.name}:{variant.quant}",
        f"slices {','.join(map(str, result.slices))}" if result.slices else "whole",
        result.pp.value / pp - 1,
        result.tg.value / tg - 1,
        (result.pp.low <= pp <= result.pp.high, result.tg.low <= tg <= result.tg.high),
        result.seconds,
    )


def _thirds(n_layer: int) -> tuple[int, ...]:
    """For a model too small for slices: they will stay in the cache, and the error shows it."""
    return max(2, n_layer // 6), max(3, n_layer // 4), max(4, n_layer // 2)


def _llama_bench(bench: Path, path: Path) -> tuple[float, float]:
    """Median tokens/s of the prompt and of generating behind it."""
    rates = []
    for test in (["-p", N_PROMPT, "-n", 0], ["-p", 0, "-n", N_GEN, "-d", N_PROMPT]):
        command = [bench, "-m", path, *test, "-r", 3, "-o", "json"]
        done = subprocess.run([str(part) for part in command], check=True, capture_output=True)
        rates.append(statistics.median(json.loads(done.stdout)[0]["samples_ts"]))
    return rates[0], rates[1]


if __name__ == "__main__":
    main()
