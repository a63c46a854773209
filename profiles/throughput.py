"""Tokens per second of a model on this device, by llama-bench's tests and with a gate against noise.

    with Engine() as engine:
        run = run_tests(engine, path, RunSettings(threads=4), [ThroughputTest(512, 0), ThroughputTest(0, 128)])
    run.rates[0].value, run.rates[0].low, run.rates[0].high

A test is repeated in rounds. A round in which other programs took the CPUs, or whose repetitions differ much, is
done again; what stays disturbed gets a wider interval with the reason, or is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from profiles.energy import EnergyMeter, energy_meter
from profiles.engine.client import Engine
from profiles.engine.protocol import (
    ContextOpened,
    EngineFailure,
    FlashAttention,
    LoadModel,
    ModelLoaded,
    OpenContext,
    RunTest,
)
from profiles.errors import EngineAbsentError, EngineError, EngineTimeoutError
from profiles.machine import Machine
from profiles.noise import Watch, between_runs, conditions, wait_until_quiet
from profiles.rounds import Round, judge

# ggml's numbers of the types a KV cache can have.
KV_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}

ROUNDS = 3
RETRY_S = 60.0  # no round is repeated once a test has taken this long
LOAD_TIMEOUT_S = 1800.0


class ThroughputTest(msgspec.Struct, frozen=True):
    """llama-bench's test: pp512 is (512, 0), tg128 is (0, 128); `depth` tokens are in the cache before."""

    n_prompt: int
    n_gen: int
    depth: int = 0

    @property
    def name(self) -> str:
        """As llama-bench writes it: "pp512", "tg128 @ d4096", "pp512+tg128"."""
        parts = [f"pp{self.n_prompt}"] if self.n_prompt else []
        parts += [f"tg{self.n_gen}"] if self.n_gen else []
        return "+".join(parts) + (f" @ d{self.depth}" if self.depth else "")

    @property
    def tokens(self) -> int:
        """What is counted, without the depth."""
        return self.n_prompt + self.n_gen


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is run. Threads None: one for each physical core; gpu_layers -1: all of them."""

    gpu_layers: int = 0
    n_batch: int = 2048
    n_ubatch: int = 512
    threads: int | None = None
    threads_batch: int | None = None
    type_k: str = "f16"
    type_v: str = "f16"
    flash_attention: FlashAttention = "auto"


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A test's tokens per second: median, 80% interval, and what made the interval wider than it need be."""

    test: ThroughputTest
    value: float
    low: float
    high: float
    samples: tuple[float, ...]
    samples_s: tuple[float, ...]  # seconds of each repetition
    noise: tuple[str, ...] = ()
    joules_per_token: float | None = None
    ended_at: float = 0.0  # seconds since 1970


class FirstToken(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from a prompt of `n_prompt` tokens to the first token of the answer, the model being loaded."""

    n_prompt: int
    depth: int
    value: float
    low: float
    high: float


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What a run measured. `threads` are those that generated, `threads_batch` those that processed prompts."""

    model: ModelLoaded
    settings: RunSettings
    threads: int
    threads_batch: int
    flash_attention: bool
    rates: tuple[Rate, ...]
    load_s: float
    first_token: FirstToken | None
    peak_resident_bytes: int | None
    energy_scope: str | None  # what spent the joules
    energy_source: str  # the counter, or why there is none
    conditions: tuple[str, ...] = ()

    @property
    def ttft_s(self) -> float | None:
        return None if self.first_token is None else self.first_token.value


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run is. `left_s` is for the rest of this test, None before its first repetition."""

    phase: Literal["loading", "waiting", "running"]
    test: ThroughputTest | None = None
    test_number: int = 0
    tests: int = 0
    repetition: int = 0
    repetitions: int = 0
    round: int = 1
    left_s: float | None = None
    tokens_per_s: float | None = None  # of the repetition before


Report = Callable[[Progress], None]
Answer = TypeVar("Answer", bound=msgspec.Struct)


def run_tests(
    engine: Engine,
    path: Path,
    settings: RunSettings,
    tests: Sequence[ThroughputTest],
    *,
    repetitions: int = 5,
    progress: Report | None = None,
    strict: bool = True,
    machine: Machine | None = None,
    model: ModelLoaded | None = None,
) -> Run:
    """Load the model at `path` and run the tests, each at least `repetitions` (two or more) times.

    With `strict`, waits a little for a busy machine to become quiet, repeats disturbed rounds and raises NoisyError
    where the number would mean nothing; without, measures once what there is. `model` is what the engine has
    loaded, where it need not be loaded again. Raises EngineError.
    """
    if repetitions < 2:
        raise ValueError("a single repetition has no spread: at least two are needed")
    machine = machine or Machine()
    report = progress or (lambda _: None)
    if strict:
        threads = busy_threads(settings, settings.threads)
        wait_until_quiet(machine, threads, report=lambda: report(Progress(phase="waiting")))
    if model is None:
        report(Progress(phase="loading"))
        model = require(
            engine.load_model(LoadModel(str(path), settings.gpu_layers), timeout_s=LOAD_TIMEOUT_S)
        )
    meter = energy_meter(machine, gpu=settings.gpu_layers != 0)
    runner = _Runner(engine, settings, machine, meter, report, repetitions, strict)
    rates = tuple(runner.rate(test, i, len(tests)) for i, test in enumerate(tests, 1))
    use = engine.memory_use()
    opened = runner.opened
    assert opened is not None, "no tests were asked for"
    return Run(
        model=model,
        settings=settings,
        threads=opened.threads,
        threads_batch=opened.threads_batch,
        flash_attention=opened.flash_attention,
        rates=rates,
        load_s=model.load_s,
        first_token=_first_token(rates),
        peak_resident_bytes=None if isinstance(use, EngineFailure) else use.peak_resident_bytes,
        energy_scope=None if isinstance(meter, str) else meter.scope,
        energy_source=meter if isinstance(meter, str) else meter.source,
        conditions=conditions(machine),
    )


def open_context(engine: Engine, settings: RunSettings, n_ctx: int) -> ContextOpened:
    """A context of the settings in the loaded model. Raises EngineError."""
    return require(
        engine.open_context(
            OpenContext(
                n_ctx=n_ctx,
                n_batch=settings.n_batch,
                n_ubatch=settings.n_ubatch,
                threads=settings.threads,
                threads_batch=settings.threads_batch,
                type_k=KV_TYPES[settings.type_k],
                type_v=KV_TYPES[settings.type_v],
                flash_attention=settings.flash_attention,
            )
        )
    )


def seconds_of(engine: Engine, test: ThroughputTest, *, warmup: bool = False) -> float:
    """One repetition in the open context. Raises EngineError."""
    timing = require(
        engine.run_test(
            RunTest(test.n_prompt, test.n_gen, test.depth, warmup),
            # Slower than a token in five seconds is not measured, it is hung.
            timeout_s=120.0 + 5.0 * (2 * test.tokens + test.depth),
        )
    )
    return (timing.prompt_s or 0.0) + (timing.gen_s or 0.0)


def require(answer: Answer | EngineFailure) -> Answer:
    """The engine's answer. Raises EngineError for a failure, with what the engine itself said of it."""
    if not isinstance(answer, EngineFailure):
        return answer
    kinds: dict[str, type[EngineError]] = {"missing": EngineAbsentError, "timeout": EngineTimeoutError}
    raise kinds.get(answer.kind, EngineError)(answer.message, answer)


class _Runner:
    """Runs tests one after the other, each in a context of its own, as llama-bench does."""

    def __init__(
        self,
        engine: Engine,
        settings: RunSettings,
        machine: Machine,
        meter: EnergyMeter | str,
        report: Report,
        repetitions: int,
        strict: bool,
    ) -> None:
        self._engine, self._settings, self._machine = engine, settings, machine
        self._meter, self._report = meter, report
        self._repetitions, self._strict = repetitions, strict
        self._least = between_runs(machine)
        self.opened: ContextOpened | None = None

    def rate(self, test: ThroughputTest, number: int, of: int) -> Rate:
        """Rounds until one is quiet. Raises NoisyError, EngineError."""
        opened = self.opened = open_context(self._engine, self._settings, test.tokens + test.depth)
        threads = opened.threads_batch if test.n_prompt else opened.threads
        busy = busy_threads(self._settings, threads)
        rounds: list[Round] = []
        started = time.monotonic()
        while True:
            rounds.append(self._round(test, number, of, len(rounds) + 1))
            if rounds[-1].quiet(busy) or not self._strict or len(rounds) == ROUNDS:
                break
            if time.monotonic() - started > RETRY_S:
                break
        verdict = judge(test.name, rounds, busy, strict=self._strict, least=self._least, pids=self._pids())
        return Rate(
            test=test,
            value=verdict.value,
            low=verdict.low,
            high=verdict.high,
            samples=verdict.samples,
            samples_s=tuple(test.tokens / rate for rate in verdict.samples),
            noise=verdict.reasons,
            joules_per_token=verdict.joules_per_token,
            ended_at=time.time(),
        )

    def _round(self, test: ThroughputTest, number: int, of: int, round_: int) -> Round:
        watch = Watch(self._machine, self._pids())
        seconds: list[float] = []
        joules: list[float] = []
        for i in range(1, self._repetitions + 1):
            left = (self._repetitions - i + 1) * seconds[-1] if seconds else None
            self._report(
                Progress(
                    phase="running",
                    test=test,
                    test_number=number,
                    tests=of,
                    repetition=i,
                    repetitions=self._repetitions,
                    round=round_,
                    left_s=left,
                    tokens_per_s=test.tokens / seconds[-1] if seconds else None,
                )
            )
            before = self._joules()
            warmup = i == 1 and round_ == 1
            seconds.append(seconds_of(self._engine, test, warmup=warmup))
            after = self._joules()
            # The first repetition also warms up and fills the cache to its depth.
            if before is not None and after is not None and i > 1:
                joules.append(after - before)
        per_token = sum(joules) / (len(joules) * test.tokens) if joules else None
        return Round(tuple(test.tokens / spent for spent in seconds), watch.stop(), per_token)

    def _joules(self) -> float | None:
        return None if isinstance(self._meter, str) else self._meter.joules()

    def _pids(self) -> tuple[int, ...]:
        return () if self._engine.pid is None else (self._engine.pid,)


def busy_threads(settings: RunSettings, threads: int | None) -> int:
    """How many CPUs the test keeps busy: one while a graphics card works."""
    if settings.gpu_layers:
        return 1
    if threads is None:
        import psutil

        threads = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    return threads


def _first_token(rates: Sequence[Rate]) -> FirstToken | None:
    """The prompt's time and that of one token, from the first two tests that go together."""
    for pp in rates:
        for tg in rates:
            prompt, answer = pp.test, tg.test
            if not (prompt.n_gen or answer.n_prompt) and prompt.depth == answer.depth:
                times = [prompt.n_prompt / a + 1 / b for a, b in ((pp.value, tg.value), (pp.high, tg.high))]
                slow = prompt.n_prompt / pp.low + 1 / tg.low
                return FirstToken(
                    n_prompt=prompt.n_prompt, depth=prompt.depth, value=times[0], low=times[1], high=slow
                )
    return None
