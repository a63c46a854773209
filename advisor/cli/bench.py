"""`slm-advisor bench`: run a model file here and say how fast it is, with llama-bench's tests and options."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advisor.cli.output import write_json, write_text
from advisor.cli.status import StatusLine

if TYPE_CHECKING:
    from advisor.bench import BenchPlan
    from profiles.throughput import Progress, ThroughputTest

MAX_RUNS = 1000
_MAX_NUMBER = 1 << 24  # the engine keeps dozens of bytes for each token of a context before it says no
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?:([+*])(\d+))?)?")


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.2
    """llama-bench's lists: "512", "128,256", "1-4", "512-4096*2", "0-32+8"."""

    name = "N,…"

    def __init__(self, least: int = 0, negative: bool = False) -> None:
        self._least, self._negative = least, negative

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        numbers: list[int] = []
        for part in str(value).split(","):
            found = _RANGE.fullmatch(part)
            if self._negative and part == "-1":
                numbers.append(-1)
            elif found is None:
                self.fail(
                    f"'{part}' is neither a number nor a range like 1-4, 0-32+8 or 512-4096*2", param, ctx
                )
            else:
                numbers += self._range(part, found, param, ctx)
        return tuple(numbers)

    def _range(
        self, part: str, found: re.Match[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        first, last = int(found[1]), int(found[2] or found[1])
        multiply, step = found[3] == "*", int(found[4] or 1)
        if first < self._least or last > _MAX_NUMBER:
            self.fail(
                f"'{part}' is out of range; it must be between {self._least} and {_MAX_NUMBER}", param, ctx
            )
        numbers: list[int] = []
        number = first
        while number <= last and len(numbers) <= MAX_RUNS:
            numbers.append(number)
            following = number * step if multiply else number + step
            if following <= number:
                if number < last:
                    self.fail(f"the range '{part}' never ends", param, ctx)
                break
            number = following
        if not numbers:
            self.fail(f"the range '{part}' is empty", param, ctx)
        return numbers


class Words(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.2
    """A list of words of a fixed set."""

    name = "TYPE,…"

    def __init__(self, *allowed: str) -> None:
        self._allowed = allowed

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        words = tuple(str(value).lower().split(","))
        for word in words:
            if word not in self._allowed:
                self.fail(f"'{word}' is not one of {', '.join(self._allowed)}", param, ctx)
        return words


class Pair(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.2
    """Prompt and answer in one test: "512,128"."""

    name = "PP,TG"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        found = re.fullmatch(r"(\d{1,9}),(\d{1,9})", str(value))
        if found is None or found[0] == "0,0":
            self.fail(f"'{value}' is not a pair like 512,128", param, ctx)
        return int(found[1]), int(found[2])


_TYPES = Words("f16", "bf16", "f32", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
# llama-bench's flags come first, ours beside them; each may be given several times, as there.
_several: dict[str, Any] = {"multiple": True}


@click.command(
    epilog="Examples:  slm-advisor bench model.gguf\n\n"
    "slm-advisor bench model.gguf -p 128,512 -n 64 -t 1-4 --output csv > threads.csv\n\n"
    "slm-advisor bench model.gguf --sustain 10"
)
@click.argument("file", metavar="FILE.gguf", type=click.Path(path_type=Path))
@click.option("-p", "--n-prompt", type=Numbers(), **_several, help="Tokens of the prompt tests.  [512]")
@click.option("-n", "--n-gen", type=Numbers(), **_several, help="Tokens to generate.  [128]")
@click.option("-pg", "pairs", type=Pair(), **_several, help="A prompt and an answer as one test.")
@click.option(
    "-d", "--depth", "--n-depth", type=Numbers(), **_several, help="Tokens in the cache before.  [0]"
)
@click.option("-b", "--batch-size", type=Numbers(1), **_several, help="Tokens handed over at once.  [2048]")
@click.option(
    "-ub",
    "--micro-batch",
    "--ubatch-size",
    type=Numbers(1),
    **_several,
    help="Tokens computed at once.  [512]",
)
@click.option(
    "-ctk", "--type-k", "--cache-type-k", type=_TYPES, **_several, help="Type of the K cache.  [f16]"
)
@click.option(
    "-ctv", "--type-v", "--cache-type-v", type=_TYPES, **_several, help="Type of the V cache.  [f16]"
)
@click.option("-t", "--threads", type=Numbers(1), **_several, help="CPU threads.  [the physical cores]")
@click.option(
    "-tb", "--threads-batch", type=Numbers(1), **_several, help="Threads for prompts, where they differ."
)
@click.option(
    "-ngl",
    "--offload-layers",
    "--n-gpu-layers",
    type=Numbers(negative=True),
    **_several,
    help="Layers on the graphics card; -1 is all.  [-1]",
)
@click.option(
    "-fa",
    "--flash-attention",
    "--flash-attn",
    type=Words("auto", "on", "off", "1", "0"),
    **_several,
    help="auto, on or off.  [auto]",
)
@click.option(
    "-r",
    "--repetitions",
    type=click.IntRange(2, 1000),
    default=5,
    show_default=True,
    help="Repetitions of each test; one alone has no spread.",
)
@click.option(
    "--sustain",
    type=click.FloatRange(0.01, 24 * 60),
    metavar="MINUTES",
    help="Repeat the tests for so long and compare the first and the last minute.",
)
@click.option(
    "--under-load", is_flag=True, help="Measure while other programs run too; the result is not kept."
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "csv", "llama-bench"]),
    default="table",
    show_default=True,
    help="llama-bench: the JSON of llama-bench -o json.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --output json.")
def bench(file: Path, **given: Any) -> None:
    """Run a model file on this device: speed, time to first token, memory.

    The tests and options are llama-bench's; every option takes a list ("1,2,4"), numbers also a range ("1-4",
    "512-4096*2"), and each combination is a row. A busy machine is refused (exit code 4) and a disturbed test is
    repeated. The result is kept and replaces the estimate from then on.
    """
    from advisor.bench import Watcher
    from advisor.bench import bench as run
    from advisor.report.bench_documents import bench_document
    from profiles.engine.client import Engine
    from profiles.errors import NoisyError
    from profiles.resolve import resolve_device

    output = "json" if given.pop("as_json") else given.pop("output")
    plan = _plan(given)
    if plan.sustain_minutes is not None and output in ("csv", "llama-bench"):
        raise click.UsageError(f"--sustain has no rows for --output {output}", click.get_current_context())
    line = StatusLine()
    told = _Progress(line)
    try:
        with Engine() as engine:
            watcher = Watcher(tests=told.test, sustained=told.sustained, run=told.run)
            result = run(file, plan, engine, resolve_device(None), watcher)
    except NoisyError as error:
        raise NoisyError(f"{error} (--under-load measures all the same)") from error
    finally:
        line.end()
    if output == "llama-bench":
        from advisor.report.bench_rows import llama_bench_text

        write_text(llama_bench_text(result))
    elif output == "json":
        write_json("bench", bench_document(result))
    elif output == "csv":
        from advisor.report.bench_rows import csv_text

        write_text(csv_text(bench_document(result)))
    else:
        from advisor.report.bench_text import bench_text

        write_text(bench_text(bench_document(result)))


def _plan(given: dict[str, Any]) -> BenchPlan:
    """The tests and settings in llama-bench's order: the outermost changes most rarely."""
    from advisor.bench import BenchPlan
    from profiles.throughput import RunSettings

    def values(name: str, default: Any) -> list[Any]:
        return list(dict.fromkeys(itertools.chain(*given[name]))) or [default]

    flash = {"1": "on", "0": "off"}
    grid = itertools.product(
        values("offload_layers", -1),
        values("batch_size", 2048),
        values("micro_batch", 512),
        values("type_k", "f16"),
        values("type_v", "f16"),
        values("flash_attention", "auto"),
        values("threads", None),
        values("threads_batch", None),
    )
    settings = tuple(
        RunSettings(
            gpu_layers=layers,
            n_batch=batch,
            n_ubatch=min(micro_batch, batch),
            type_k=type_k,
            type_v=type_v,
            flash_attention=flash.get(attention, attention),
            threads=threads,
            threads_batch=threads_batch,
        )
        for layers, batch, micro_batch, type_k, type_v, attention, threads, threads_batch in itertools.islice(
            grid, MAX_RUNS + 1
        )
    )
    tests = _tests(values("n_prompt", 512), values("n_gen", 128), list(given["pairs"]), values("depth", 0))
    context = click.get_current_context()
    if not tests:
        raise click.UsageError("there is no test: -p and -n are both 0", context)
    if len(settings) * len(tests) > MAX_RUNS:
        raise click.UsageError(f"that is more than {MAX_RUNS} rows", context)
    if given["sustain"] is not None and len(settings) > 1:
        raise click.UsageError("--sustain takes one value of each setting", context)
    return BenchPlan(
        tests=tests,
        settings=settings,
        repetitions=given["repetitions"],
        strict=not given["under_load"],
        sustain_minutes=given["sustain"],
    )


def _tests(
    prompts: list[int], answers: list[int], pairs: list[tuple[int, int]], depths: list[int]
) -> tuple[ThroughputTest, ...]:
    from profiles.throughput import ThroughputTest

    kinds = [(n, 0) for n in prompts if n] + [(0, n) for n in answers if n] + pairs
    return tuple(ThroughputTest(prompt, answer, depth) for depth in depths for prompt, answer in kinds)


class _Progress:
    """What the run tells, as a line."""

    def __init__(self, line: StatusLine) -> None:
        self._line = line
        self._part = ""

    def run(self, number: int, of: int) -> None:
        self._part = f"settings {number} of {of}, " if of > 1 else ""

    def test(self, progress: Progress) -> None:
        if progress.test is None:
            words = {"waiting": "looking whether the machine is quiet", "loading": "loading the model"}
            self._line.show(words.get(progress.phase, progress.phase), milestone=True)
            return
        again = f", again (round {progress.round})" if progress.round > 1 else ""
        left = "" if progress.left_s is None else f", {progress.left_s:.0f} s left"
        self._line.show(
            f"{self._part}test {progress.test_number} of {progress.tests}: {progress.test.name}, "
            f"repetition {progress.repetition} of {progress.repetitions}{again}{left}",
            milestone=progress.repetition == 1,
        )

    def sustained(self, passed_s: float, left_s: float) -> None:
        self._line.show(f"{passed_s / 60:.1f} min passed, {left_s / 60:.1f} min left")
