"""Where synthetic models are written, run and timed, with an eye on the clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from advisor.calibration_fit import Timing
from advisor.calibration_models import CalibrationModel
from profiles.engine.client import Engine
from profiles.engine.protocol import EngineFailure, LoadModel, OpenContext, RunTest, TestTiming
from profiles.noise import Taken, Watch
from profiles.throughput import require
from quantize.synthetic import sampled_types, write_synthetic

_BLOCKS = 251  # sampled of each type
_DEPTH = 2048  # tokens in the filled cache
_PROMPT_S, _TOKENS_S = 0.15, 0.08  # one repetition of each test takes about this long
_LONG_PROMPT_S = 0.4  # of a model that an overhead is told by: a small difference of large numbers
_PROMPTS, _GENERATIONS = 2, 5  # repetitions
_FEWEST, _MOST = (
    128,
    512,
)  # tokens of a prompt: with fewer, what a batch costs by itself is a part of the rate
_SHORT = 16  # tokens of the prompt that tells what a batch costs
_ROUNDS, _SPREAD = 3, 1.15  # of repetitions, as long as they differ by more than this

Answer = TypeVar("Answer", bound=msgspec.Struct)


class Step(msgspec.Struct, frozen=True):
    """What is measured now, seconds since the start and, at most, to the end."""

    what: str
    elapsed_s: float
    left_s: float


Report = Callable[[Step], None]


class OutOfTimeError(Exception):
    """The budget is spent: what is not measured is derived."""


class Lab:
    """Writes synthetic models, runs them, and watches the clock: each call raises OutOfTimeError past the deadline."""

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        deadline: float,
        size: int,
        report: Report,
        started: float,
        watch: Watch,
    ) -> None:
        self.deadline = deadline
        self.size = size
        self.gpu_layers = 0
        self.threads = self.threads_batch = 1
        self._engine = engine
        self._path = folder / "model.gguf"
        self._report = report
        self._started = started
        self._watch = watch
        self.taken: Taken | None = None  # by others, up to the end of the last model that was measured
        self._model: CalibrationModel | None = None
        self._slowest_s = 0.0  # longest that a model took
        self._n_prompt = 0

    def now(self) -> float:
        return time.monotonic()

    def report(self, what: str) -> None:
        now = self.now()
        self._report(Step(what, now - self._started, max(0.0, self.deadline - now)))

    def measure(
        self, model: CalibrationModel, what: str, *, prompt: bool = True, long: bool = False
    ) -> Timing:
        """Write, load and time a model on an empty cache; `long`: with longer prompts."""
        began = self.now()
        if began + self._slowest_s > self.deadline:
            raise OutOfTimeError
        self.report(what)
        self.load(model)
        timing = self.run(prompt=prompt, long=long)
        self.taken = self._watch.stop()
        self._slowest_s = max(self._slowest_s, self.now() - began)
        return timing

    def load(self, model: CalibrationModel) -> None:
        types = model.types
        sampled = sampled_types(types.values())
        blocks = (
            self._ask(lambda t: self._engine.sample_blocks(sampled, _BLOCKS, timeout_s=t)).data
            if sampled
            else {}
        )
        # Not overwritten: the engine still maps the one before.
        self._path.unlink(missing_ok=True)
        write_synthetic(model.arch, types, self._path, blocks)
        self._ask(lambda t: self._engine.load_model(LoadModel(str(self._path), self.gpu_layers), timeout_s=t))
        self._model = model

    def run(self, *, prompt: bool = True, long: bool = False) -> Timing:
        """Medians of some repetitions on an empty cache, each of as many tokens as take a fraction of a second."""
        self._open(1024)
        self._test(_SHORT, 1)  # the first run touches all memory
        first = self._test(_SHORT, 2)
        seconds = _LONG_PROMPT_S if long else _PROMPT_S
        n_prompt = _SHORT
        if prompt:
            n_prompt = _power_of_two(seconds / (_known(first.prompt_s) / _SHORT), _FEWEST, _MOST)
        n_gen = min(32, max(4, int(_TOKENS_S / (_known(first.gen_s) / 2))))
        self._n_prompt = n_prompt
        timing = self._repeat(n_prompt, n_gen, 0, _PROMPTS if prompt else 1)
        if not prompt:
            return timing
        short_s = self._typical(lambda: self._test(_SHORT, 0).prompt_s, _PROMPTS)
        return msgspec.structs.replace(timing, short_prompt=_SHORT, short_s=short_s)

    def measure_deep(self) -> Timing:
        """The loaded model again, with a filled cache."""
        self._open(_DEPTH + 1024)
        return self._repeat(min(self._n_prompt, 128), 8, _DEPTH, _PROMPTS)

    def _repeat(self, n_prompt: int, n_gen: int, depth: int, prompts: int) -> Timing:
        assert self._model is not None
        reading = self._typical(lambda: self._test(n_prompt, 0, depth).prompt_s, prompts)
        generating = self._typical(lambda: self._test(0, n_gen, depth).gen_s, _GENERATIONS)
        return Timing(
            load=self._model.load,
            n_prompt=n_prompt,
            depth=depth,
            prompt_s=reading / n_prompt,
            token_s=generating / n_gen,
            position=depth + n_gen / 2,
        )

    def _typical(self, test: Callable[[], float | None], repetitions: int) -> float:
        """Seconds of a repetition: the median of the faster half, since others can only slow one down.

        Repetitions that differ much are done again, in case something else ran meanwhile.
        """
        seconds: list[float] = []
        for _ in range(_ROUNDS):
            seconds += [_known(test()) for _ in range(repetitions)]
            fast = sorted(seconds)[: len(seconds) // 2 + 1]
            if fast[-1] < _SPREAD * fast[0] and max(seconds[-repetitions:]) < _SPREAD * fast[0]:
                break
        return statistics.median(fast)

    def _open(self, n_ctx: int) -> None:
        context = OpenContext(n_ctx, threads=self.threads, threads_batch=self.threads_batch)
        self._ask(lambda t: self._engine.open_context(context, timeout_s=t))

    def _test(self, n_prompt: int, n_gen: int, depth: int = 0) -> TestTiming:
        return self._ask(lambda t: self._engine.run_test(RunTest(n_prompt, n_gen, depth), timeout_s=t))

    def _ask(self, question: Callable[[float], Answer | EngineFailure]) -> Answer:
        left = self.deadline - self.now()
        if left <= 0:
            raise OutOfTimeError
        answer = question(left)
        if isinstance(answer, EngineFailure) and answer.kind == "timeout":
            raise OutOfTimeError
        return require(answer)


def _known(seconds: float | None) -> float:
    """Seconds of a phase that the test has."""
    assert seconds is not None
    return max(seconds, 1e-9)


def _power_of_two(wanted: float, low: int, high: int) -> int:
    n = low
    while n * 2 <= min(wanted, high):
        n *= 2
    return n
