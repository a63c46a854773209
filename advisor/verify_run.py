"""The short bench of `verify`: the deployment loaded with its own settings, and requests as its workload has them.

A request is a prompt and, behind it, some tokens of the answer, both timed. Nothing is kept of it in the ledger.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from advisor.evidence import Value
from advisor.manifest import PinnedSettings, Speeds
from advisor.workload import Workload
from profiles.engine.client import Engine
from profiles.engine.protocol import EngineFailure, LoadModel, RunTest, TestTiming
from profiles.errors import NoisyError
from profiles.machine import Machine
from profiles.noise import Watch, between_runs, wait_until_quiet
from profiles.rounds import Round, Verdict, judge
from profiles.throughput import LOAD_TIMEOUT_S, ROUNDS, RunSettings, busy_threads, open_context, require

MOST_GENERATED = 64
REQUEST_S = 20.0  # a prompt that takes longer is shortened
SHORTEST = 32


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What the run gave. `speeds` has none in it where the machine was too busy; `problem` says so."""

    speeds: Speeds
    problem: str | None = None
    notes: tuple[str, ...] = ()


def run_settings(settings: PinnedSettings, backend: str) -> RunSettings:
    """The pinned settings as the engine takes them."""
    layers = 0 if backend == "cpu" else settings.offload_layers
    return RunSettings(
        gpu_layers=-1 if layers > settings.n_layer else layers,
        n_ubatch=settings.micro_batch,
        n_batch=max(2048, settings.micro_batch),
        threads=settings.threads,
        threads_batch=settings.threads_batch,
        type_k=settings.type_k,
        type_v=settings.type_v,
        flash_attention=settings.flash_attention,
    )


def run(
    engine: Engine,
    path: Path,
    settings: RunSettings,
    workload: Workload,
    context_length: int,
    *,
    strict: bool = True,
    repetitions: int = 3,
    use_mmap: bool = True,
) -> Ran:
    """Load, answer and time. Raises EngineError where the engine cannot, or dies of it."""
    model = LoadModel(str(path), settings.gpu_layers, use_mmap)
    require(engine.load_model(model, timeout_s=LOAD_TIMEOUT_S))
    opened = open_context(engine, settings, context_length)
    n_gen = max(1, min(workload.answer_tokens, MOST_GENERATED, context_length // 2))
    n_prompt = max(1, min(workload.prompt_tokens, context_length - n_gen))
    first = _request(engine, min(n_prompt, SHORTEST), 2, warmup=True)
    notes = []
    affordable = int(REQUEST_S * min(n_prompt, SHORTEST) / (first.prompt_s or 1e-9))
    if affordable < n_prompt:
        shortened = max(SHORTEST, affordable)
        notes.append(
            f"the prompt was shortened from {n_prompt} to {shortened} tokens: it takes too long here"
        )
    else:
        shortened = n_prompt
    threads = max(busy_threads(settings, count) for count in (opened.threads, opened.threads_batch))
    problem, speeds = None, Speeds(n_prompt=shortened, n_gen=n_gen)
    try:
        if strict:
            wait_until_quiet(Machine(), threads)
        pp, tg = _timed(engine, shortened, n_gen, threads, repetitions, strict)
    except NoisyError as error:
        problem = str(error)
    else:
        notes += dict.fromkeys((*pp.reasons, *tg.reasons))
        speeds = Speeds(
            n_prompt=shortened,
            n_gen=n_gen,
            pp_tokens_per_s=Value(pp.value, pp.low, pp.high, "measured"),
            tg_tokens_per_s=Value(tg.value, tg.low, tg.high, "measured"),
            ttft_s=Value(
                n_prompt / pp.value + 1 / tg.value,
                n_prompt / pp.high + 1 / tg.high,
                n_prompt / pp.low + 1 / tg.low,
                "measured",
            ),
        )
    use = engine.memory_use()
    if not isinstance(use, EngineFailure):
        peak = float(use.peak_resident_bytes)
        speeds = msgspec.structs.replace(speeds, memory_bytes=Value(peak, peak, peak, "measured"))
    return Ran(speeds=speeds, problem=problem, notes=tuple(notes))


def _timed(
    engine: Engine, n_prompt: int, n_gen: int, threads: int, repetitions: int, strict: bool
) -> tuple[Verdict, Verdict]:
    """Rounds of requests until one is quiet for both parts. Raises NoisyError, EngineError."""
    machine = Machine()
    pids = () if engine.pid is None else (engine.pid,)
    prompts: list[Round] = []
    answers: list[Round] = []
    began = time.monotonic()
    while True:
        watch = Watch(machine, pids)
        timings = [
            _request(engine, n_prompt, n_gen, warmup=i == 0 and not prompts) for i in range(repetitions)
        ]
        taken = watch.stop()
        prompts.append(Round(tuple(n_prompt / (one.prompt_s or 1e-9) for one in timings), taken))
        answers.append(Round(tuple(n_gen / (one.gen_s or 1e-9) for one in timings), taken))
        if not strict or (prompts[-1].quiet(threads) and answers[-1].quiet(threads)):
            break
        if len(prompts) == ROUNDS or time.monotonic() - began > 3 * REQUEST_S:
            break
    least = between_runs(machine)
    pp = judge(f"pp{n_prompt}", prompts, threads, strict=strict, least=least, pids=pids)
    tg = judge(f"tg{n_gen}", answers, threads, strict=strict, least=least, pids=pids)
    return pp, tg


def _request(engine: Engine, n_prompt: int, n_gen: int, *, warmup: bool) -> TestTiming:
    test = RunTest(n_prompt, n_gen, 0, warmup)
    return require(engine.run_test(test, timeout_s=120.0 + 10.0 * (n_prompt + n_gen)))
