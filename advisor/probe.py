"""How fast a model of the catalog runs here, without downloading it.

A model of its exact architecture and tensor types is made from synthetic weights (`quantize.synthetic`) and timed:
whole where that is quick, else in slices of some of its layers (`quantize.slices`), each in an engine of its own, in
turns, so that a slow minute slows all of them. The times are extrapolated over the bytes of the blocks, and where the
prompt is long, over positions (`advisor.extrapolation`).

    result = probe(model, model.variant("Q4_K_M"), target, place, settings, n_prompt=512, n_gen=128)
    result.pp, result.tg
    for measurement in measurements_of(result, target): record(measurement)
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from advisor.catalog import Model, Variant
from advisor.deployment_speed import predict_for
from advisor.errors import InvalidInputError, NotEnoughEvidenceError, NothingFitsError
from advisor.evidence import Value
from advisor.load import load_digest, load_of
from advisor.measurements import Measurement, now
from advisor.memory import Settings
from advisor.probe_plan import Plan, choose_plan, plan_slices
from advisor.probe_times import Terms, Timed, generation, prompt_processing
from advisor.target import Place, Target
from profiles.device import Backend
from profiles.engine.client import Engine
from profiles.engine.protocol import ContextOpened, LoadModel, RunTest
from profiles.machine import Machine
from profiles.noise import Watch, conditions, wait_until_quiet
from profiles.rounds import Round, Verdict, judge
from profiles.scratch import Scratch, scratch_folder, scratch_room
from profiles.text import amount
from profiles.throughput import LOAD_TIMEOUT_S, RunSettings, open_context, require
from quantize.architecture import Architecture
from quantize.synthetic import SAMPLE_BLOCKS, check_room, sampled_types, write_synthetic

LIMIT_S = 50.0
"""What a probe may take, as far as it can choose; a slow disk comes on top."""

MIN_ROUNDS, MAX_ROUNDS = 3, 5
WHOLE_ERROR, SLICES_ERROR = 0.03, 0.05
"""Half of the 80% interval, as a share, of what stays unlike with everything measured without noise."""

_WARM_UP = RunTest(n_prompt=64, n_gen=2)
_GENERATED = (8, 64)  # tokens generated at least and at most in a round
_GENERATED_S = 0.5
_PROCESS_BYTES = 150_000_000  # of a worker, with the part of its buffers that is touched

Report = Callable[[str], None]


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens per second of `n_prompt` tokens, and of generating in the middle of the `n_gen` that follow them.

    `slices` are the numbers of layers that were timed; empty where the whole model was.
    """

    model: Model
    variant: Variant
    settings: Settings
    backend: Backend
    threads: int  # that generate; `threads_batch` process prompts
    threads_batch: int
    flash_attention: bool
    n_prompt: int
    n_gen: int
    pp: Value
    tg: Value
    prompt: Terms
    decode: Terms
    predicted_pp: Value | None
    predicted_tg: Value | None
    slices: tuple[int, ...]
    timed_prompt: int  # tokens of the prompt that was timed; fewer than n_prompt were extrapolated
    rounds: int
    noise: tuple[str, ...]
    conditions: tuple[str, ...]
    file_bytes: int  # that were written, and are gone
    seconds: float

    @property
    def ttft_s(self) -> Value:
        """Seconds to the first token: the prompt's and one token's."""
        pairs = [(self.pp.value, self.tg.value), (self.pp.high, self.tg.high), (self.pp.low, self.tg.low)]
        value, low, high = (self.n_prompt / pp + 1 / tg for pp, tg in pairs)
        return Value(value, low, high, "probed")


def probe(
    model: Model,
    variant: Variant,
    target: Target,
    place: Place,
    settings: Settings,
    *,
    n_prompt: int,
    n_gen: int,
    report: Report = lambda _: None,
    slices: Sequence[int] | None = None,
    strict: bool = True,
    new_engine: Callable[[], Engine] = Engine,
    sampled: Callable[[float], None] = lambda _: None,
) -> ProbeResult:
    """Time a synthetic model; `slices` (numbers of layers) instead of what would be chosen.

    `new_engine` makes the engines, for a caller that may want to end them (`profiles.engine.stop`); `sampled` is told
    the tokens per second of generating after each round.

    Raises NotEnoughEvidenceError for a model that the engine cannot run, NothingFitsError where it has no memory or
    there is no disk for it, InvalidInputError for a backend that the engine has not, NoisyError on a busy machine
    (with `strict`), EngineError.
    """
    started = time.monotonic()
    arch = model.architecture
    if arch is None or model.unsupported is not None:
        raise NotEnoughEvidenceError(f"{model.name}: {model.unsupported or 'its tensors are not known'}")
    if n_prompt < 1 or n_gen < 1:
        raise InvalidInputError("a probe needs at least one token of a prompt and one to generate")
    load = load_of(model, variant, settings.type_k, settings.type_v)
    predicted = predict_for(
        arch, variant, target, place, settings, grade="probed", n_prompt=n_prompt, n_gen=n_gen
    )
    machine = Machine()
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(new_engine())
        _check_backend(engine, place, settings)
        _check_fit(model, variant, target, place, settings)
        types = _types(arch, variant.quant, engine)
        plan = _plan(arch, types, variant, target, place, predicted, n_prompt, slices)
        scratch = stack.enter_context(scratch_folder(plan.file_bytes))
        check_room(scratch.path, plan.file_bytes)
        report(_narrated(plan, scratch))
        engines = _load(stack, engine, new_engine, plan, types, scratch.path, settings, arch)
        if strict:
            wait_until_quiet(
                machine, settings.threads or 1, report=lambda: report("looking whether the machine is quiet")
            )
        report("warming up")
        session = _Session(engines, run_settings(settings), LIMIT_S - (time.monotonic() - started))
        session.prepare(n_prompt)
        watch = Watch(machine, [engine.pid for engine in engines if engine.pid is not None])
        for number in range(1, session.rounds + 1):
            report(f"round {number} of {session.rounds}")
            session.run_round()
            so_far = generation(plan, load.cache, session.timed, session.seconds, n_prompt, n_gen)
            sampled(so_far.rates[-1])
        taken, opened, timed = watch.stop(), session.opened, session.timed
        prompt = prompt_processing(plan, load.cache, timed, session.seconds, n_prompt)
        decode = generation(plan, load.cache, timed, session.seconds, n_prompt, n_gen)
        pids = [engine.pid for engine in engines if engine.pid is not None]
        busy = 1 if settings.offload_layers else None  # a graphics card works while one thread waits for it
        pp = judge(
            f"pp{n_prompt}",
            [Round(prompt.rates, taken)],
            busy or opened.threads_batch,
            strict=strict,
            pids=pids,
        )
        tg = judge(
            f"tg{n_gen}", [Round(decode.rates, taken)], busy or opened.threads, strict=strict, pids=pids
        )
    own = WHOLE_ERROR if plan.whole else SLICES_ERROR
    return ProbeResult(
        model=model,
        variant=variant,
        settings=settings,
        backend=place.processor.backend if settings.offload_layers else "cpu",
        threads=opened.threads,
        threads_batch=opened.threads_batch,
        flash_attention=opened.flash_attention,
        n_prompt=n_prompt,
        n_gen=n_gen,
        pp=_value(pp, own, prompt.error),
        tg=_value(tg, own, decode.error),
        prompt=prompt.terms,
        decode=decode.terms,
        predicted_pp=predicted[0],
        predicted_tg=predicted[1],
        slices=() if plan.whole else tuple(part.slice.n_layer for part in plan.parts),
        timed_prompt=timed.n_prompt,
        rounds=session.rounds,
        noise=tuple(dict.fromkeys((*pp.reasons, *tg.reasons))),
        conditions=conditions(machine),
        file_bytes=plan.file_bytes,
        seconds=time.monotonic() - started,
    )


def place_of_engine(target: Target, backend: str | None) -> Place:
    """Where to run: as `choose_place` has it, but the CPU where the engine cannot drive the accelerator it chose.

    Raises InvalidInputError for a backend the device has nothing for, EngineError.
    """
    from advisor.estimate import choose_place
    from profiles.engine.fit import gpu_backends

    place = choose_place(target, backend)
    if backend is None and place.processor.accelerator is not None:
        with Engine() as engine:
            there = gpu_backends(require(engine.version()))
        if place.processor.backend not in there:
            return choose_place(target, "cpu")
    return place


# --- before the run -------------------------------------------------------------------------------------------


def _check_backend(engine: Engine, place: Place, settings: Settings) -> None:
    """Raises InvalidInputError, or EngineError where there is no engine at all."""
    from profiles.engine.fit import gpu_backends

    there = gpu_backends(require(engine.version()))
    wanted = place.processor.backend
    if settings.offload_layers and wanted not in there:
        raise InvalidInputError(
            f"the engine has no backend {wanted} that answers; give --backend cpu, or let 'slm-advisor doctor' say "
            "which build would have it"
        )


def _check_fit(model: Model, variant: Variant, target: Target, place: Place, settings: Settings) -> None:
    """Raises NothingFitsError for a model that this device could not hold with everything else closed."""
    from advisor.candidates import memory_of

    needed = memory_of(model, variant, place, settings)
    host = max(target.host_bytes or 0, target.device.memory.budget_cleared_bytes or 0) or math.inf
    own = math.inf if place.memory_bytes is None else place.memory_bytes
    if needed.host_bytes > host or needed.accelerator_bytes > own:
        raise NothingFitsError(
            f"{model.name}:{variant.quant} needs {amount(needed.reserved_bytes)} here, and there is only "
            f"{amount(min(host, own) if needed.accelerator_bytes > own else host)}; "
            "'slm-advisor recommend' shows what fits"
        )


def _types(arch: Architecture, quant: str, engine: Engine) -> dict[str, str]:
    from advisor.sizes import SizesError, tensor_types

    try:
        return tensor_types(arch, quant, engine)
    except SizesError as error:
        raise NotEnoughEvidenceError(f"the engine cannot make a {quant} of it: {error}") from error


def _plan(
    arch: Architecture,
    types: Mapping[str, str],
    variant: Variant,
    target: Target,
    place: Place,
    predicted: tuple[Value | None, Value | None],
    n_prompt: int,
    slices: Sequence[int] | None,
) -> Plan:
    if slices:
        return plan_slices(arch, types, slices)
    disk = scratch_room()
    memory = math.inf if target.host_bytes is None else 0.9 * target.host_bytes - 3 * _PROCESS_BYTES
    if disk.in_memory:
        memory /= 2  # once as files, once as weights
    if place.memory_bytes is not None:
        memory = min(memory, 0.9 * place.memory_bytes)
    plan = choose_plan(
        arch,
        types,
        head_bytes=variant.output_bytes,
        predicted=predicted,
        n_prompt=n_prompt,
        room_bytes=max(0, int(min(memory, disk.free_bytes))),
        l3_bytes=None if target.device.cpu is None else target.device.cpu.l3_bytes,
    )
    if plan is None:
        raise NothingFitsError(
            f"no slice of this model fits: {amount(max(0.0, memory))} of memory and {amount(disk.free_bytes)} in "
            f"{disk.path} are free; close programs, or set TMPDIR to a folder on a disk with more room"
        )
    return plan


def _narrated(plan: Plan, scratch: Scratch) -> str:
    what = "the whole model"
    if not plan.whole:
        counts = [str(part.slice.n_layer) for part in plan.parts]
        what = f"slices of {', '.join(counts[:-1])} and {counts[-1]} layers"
    kind = " (in memory)" if scratch.in_memory else ""
    return f"writing {what}, {amount(plan.file_bytes)}, to {scratch.path.parent}{kind}"


def _load(
    stack: contextlib.ExitStack,
    first: Engine,
    new_engine: Callable[[], Engine],
    plan: Plan,
    types: Mapping[str, str],
    folder: Path,
    settings: Settings,
    arch: Architecture,
) -> list[Engine]:
    """Write each part and load it into an engine of its own; the files are gone from the folder afterwards."""
    blocks = require(first.sample_blocks(sampled_types(types.values()), SAMPLE_BLOCKS)).data
    engines = [first, *(stack.enter_context(new_engine()) for _ in plan.parts[1:])]
    for engine, part in zip(engines, plan.parts, strict=True):
        path = folder / f"{part.slice.n_layer}.gguf"
        write_synthetic(part.slice.architecture, part.types, path, blocks)
        layers = _gpu_layers(settings, arch, part.slice.n_layer)
        require(engine.load_model(LoadModel(str(path), layers), timeout_s=LOAD_TIMEOUT_S))
        path.unlink()  # what is mapped stays until the engine ends
    return engines


def _gpu_layers(settings: Settings, arch: Architecture, n_layer: int) -> int:
    """Of a slice the same share as of the model; -1 is everything."""
    if settings.offload_layers > arch.n_layer:
        return -1
    return round(n_layer * settings.offload_layers / arch.n_layer)


def run_settings(settings: Settings) -> RunSettings:
    """A deployment's settings as the engine is given them, without layers on an accelerator."""
    return RunSettings(
        n_batch=max(2048, settings.micro_batch),
        n_ubatch=settings.micro_batch,
        threads=settings.threads,
        threads_batch=settings.threads_batch,
        type_k=settings.type_k,
        type_v=settings.type_v,
    )


# --- the run --------------------------------------------------------------------------------------------------


class _Session:
    """The engines with their loaded parts, and the times they took."""

    timed: Timed
    opened: ContextOpened
    rounds: int

    def __init__(self, engines: list[Engine], settings: RunSettings, left_s: float) -> None:
        self._engines, self._settings = engines, settings
        self._until = time.monotonic() + left_s
        self.seconds: dict[str, list[list[float]]] = {}

    def prepare(self, n_prompt: int) -> None:
        """Warm up, and choose what can be run in the time that is left."""
        self._open(256)
        for _ in range(2):  # the first reads the weights for the first time
            prompt_s, token_s = (sum(times) for times in zip(*self._turn(_WARM_UP), strict=True))
        prompt_s, token_s = prompt_s / _WARM_UP.n_prompt, token_s / _WARM_UP.n_gen
        fewest, most = _GENERATED
        n_gen = max(fewest, min(most, round(_GENERATED_S * len(self._engines) / token_s)))
        left = max(1.0, self._until - time.monotonic() - MIN_ROUNDS * 3 * n_gen * token_s)
        self.timed = Timed(n_prompt, n_gen)
        if n_prompt * prompt_s * (MIN_ROUNDS + 1) > left:
            # To warm up, two stretches of the prompt in each round, and once the way to the second.
            part = _stretch(left / prompt_s / (2 * MIN_ROUNDS + 3), self._settings.n_ubatch)
            if 3 * part < n_prompt:
                self.timed = Timed(part, n_gen, 2 * part)
        timed = self.timed
        round_s = (2 if timed.depth else 1) * timed.n_prompt * prompt_s + 3 * n_gen * token_s
        before_s = (timed.depth + timed.n_prompt) * prompt_s
        rounds = int((self._until - time.monotonic() - before_s) / round_s)
        self.rounds = max(MIN_ROUNDS, min(MAX_ROUNDS, rounds))
        self.opened = self._open(timed.depth + timed.n_prompt + n_gen)
        self._turn(RunTest(min(timed.n_prompt, self._settings.n_ubatch)))  # touches the new buffers

    def run_round(self) -> None:
        """Every test once, the parts in turns."""
        timed = self.timed
        tests = {"start": RunTest(0, timed.n_gen), "near": RunTest(timed.n_prompt, timed.n_gen)}
        if timed.depth:
            tests["far"] = RunTest(timed.n_prompt, timed.n_gen, timed.depth)
        for name, test in tests.items():
            times = self._turn(test)
            if test.n_prompt:
                self.seconds.setdefault(f"{name} prompt", []).append([prompt for prompt, _ in times])
            self.seconds.setdefault(f"{name} token", []).append([gen / test.n_gen for _, gen in times])

    def _turn(self, test: RunTest) -> list[tuple[float, float]]:
        found = []
        for engine in self._engines:
            # Slower than a token in a second is not timed, it is hung.
            timeout_s = 60.0 + test.n_prompt + test.n_gen + test.depth
            timing = require(engine.run_test(test, timeout_s=timeout_s))
            found.append((timing.prompt_s or 0.0, timing.gen_s or 0.0))
        return found

    def _open(self, n_ctx: int) -> ContextOpened:
        opened = [open_context(engine, self._settings, n_ctx) for engine in self._engines]
        return opened[0]


def _stretch(tokens: float, micro_batch: int) -> int:
    """At most that many tokens: whole micro-batches, or a part of one that keeps matrices efficient."""
    step = micro_batch if tokens >= micro_batch else 64
    return max(64, int(tokens) // step * step)


# --- after the run --------------------------------------------------------------------------------------------


def _value(verdict: Verdict, *errors: float) -> Value:
    """The rate with the errors of extrapolation added to the interval of the noise."""
    low = math.hypot(math.log(verdict.value / verdict.low), *errors)
    high = math.hypot(math.log(verdict.high / verdict.value), *errors)
    return Value(verdict.value, verdict.value * math.exp(-low), verdict.value * math.exp(high), "probed")


def measurements_of(result: ProbeResult, target: Target) -> tuple[Measurement, ...]:
    """A probe as it is kept: one measurement of the prompt, one of the answer behind it. None without an engine."""
    from profiles.engine.installed import installed_engine
    from profiles.fingerprint import fingerprint

    engine, arch = installed_engine(), result.model.architecture
    if engine is None or arch is None:
        return ()
    by_type = result.variant.bytes_by_type
    prompt = Measurement(
        at=now(),
        evidence="probed",
        model=result.model.id,
        quant=result.variant.quant,
        load_digest=load_digest(arch, by_type),
        parameters=result.model.parameters,
        main_type=max(by_type, key=lambda name: by_type[name]),
        device=fingerprint(target.device),
        engine=engine.identity,
        backend=result.backend,
        type_k=result.settings.type_k,
        type_v=result.settings.type_v,
        micro_batch=result.settings.micro_batch,
        offload_layers=result.settings.offload_layers,
        threads=result.threads,
        threads_batch=result.threads_batch,
        n_prompt=result.n_prompt,
        pp=result.pp,
        predicted_pp=result.predicted_pp,
    )
    answer = msgspec.structs.replace(
        prompt,
        n_prompt=0,
        pp=None,
        predicted_pp=None,
        n_gen=result.n_gen,
        depth=result.n_prompt,
        tg=result.tg,
        predicted_tg=result.predicted_tg,
    )
    return prompt, answer
