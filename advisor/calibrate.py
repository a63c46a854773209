"""`calibrate`: measure what this device does with llama.cpp, in at most a minute.

Small synthetic models are written, loaded and run by the engine, one after the other, the most telling first:
what the clock leaves no room for is derived from what was measured. Loading real models, not timing single
operations, is what makes the rates true: the engine repacks some tensor types for this processor as it loads them.

This lives here and not beside profiles/calibration.py because it needs quantize's synthetic models
(docs/decisions/0004-calibrating-is-the-advisors.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Sequence
from datetime import UTC, datetime

from advisor.calibration_fit import (
    Attention,
    Base,
    Depths,
    backend_calibration,
    derived,
    fit_attention,
    fit_base,
    fit_kind,
    fit_type,
)
from advisor.calibration_lab import Lab, OutOfTimeError, Report, Step
from advisor.calibration_models import (
    KIND_MODELS,
    attention,
    narrow,
    of_kind,
    short_rows,
    wide,
)
from advisor.errors import ComponentMissingError, NotEnoughEvidenceError
from advisor.processors import Processor, processors
from profiles.bandwidth import buffer_size, measure_bandwidth
from profiles.calibration import BackendCalibration, Calibration, KindCost, ThreadRate, TypeRate
from profiles.device import Device
from profiles.engine.client import Engine
from profiles.engine.fit import gpu_backends
from profiles.engine.installed import installed_engine
from profiles.errors import NoisyError
from profiles.fingerprint import fingerprint
from profiles.machine import Machine
from profiles.noise import HEAVY, Watch, wait_until_quiet
from profiles.scratch import scratch_folder
from profiles.throughput import require
from quantize.synthetic import check_room

BUDGET_S = 60.0
_RESERVE_S = 3.0  # of the budget, for what no model is started in: the fit, cleaning up

REFERENCE = "Q8_0"  # fits rows of any width; overheads are measured with it
THREADS_TYPE = "Q4_K"  # what most people run
# fmt: off
TYPES = (
    "Q4_K", "Q6_K", "F16", "Q5_K", "Q4_0", "Q5_0", "Q3_K", "IQ4_XS", "Q2_K", "IQ4_NL", "BF16", "Q4_1", "Q5_1",
    "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "MXFP4",
)
# fmt: on
"""In the order they are measured: the more models have a type, the earlier.

IQ1_S and IQ1_M are derived: the engine needs longer to make their blocks (8 s) than for any measurement."""
_KINDS_AFTER = 7  # types before the kinds of blocks

_SLOW = ("IQ2", "IQ3")  # bound by arithmetic wherever they were measured: a cache does not flatter them
_CACHES = 8  # times the last-level cache: what four times its size leaves in it still showed (by 10 to 30%)
_SMALLEST_BYTES, _LARGEST_BYTES = 64 << 20, 512 << 20
_BANDWIDTH_S = 0.12


def calibrate(
    device: Device,
    *,
    budget_s: float = BUDGET_S,
    types: Sequence[str] = TYPES,
    report: Report = lambda _: None,
    strict: bool = True,
    new_engine: Callable[[], Engine] = Engine,
) -> Calibration:
    """Measure this machine, which `device` describes; nothing is kept.

    `new_engine` makes the engine, for a caller that may want to end it (`profiles.engine.stop`).

    Raises ComponentMissingError without an engine, NoisyError on a busy machine (with `strict`), NoRoomError where
    the temporary files have no place, EngineError where the engine fails, NotEnoughEvidenceError where the budget
    did not suffice for the first models.
    """
    installed = installed_engine()
    if installed is None:
        raise ComponentMissingError(
            "calibrating needs the engine: pip install 'slm-advisor[engine]' or 'slm-advisor engine install'"
        )
    machine, started = Machine(), time.monotonic()
    if strict:
        waiting = Step("nothing yet: waiting until the machine is quiet", 0.0, budget_s)
        wait_until_quiet(machine, device.cpu.usable_threads or 1, report=lambda: report(waiting))
        started = time.monotonic()  # the minute is for measuring
    size = _model_bytes(device)
    with new_engine() as engine, scratch_folder(2 * size) as scratch:
        check_room(scratch.path, 2 * size)
        backends_there = gpu_backends(require(engine.version()))
        watch = Watch(machine, pids=[engine.pid] if engine.pid else [])
        lab = Lab(engine, scratch.path, started + budget_s - _RESERVE_S, size, report, started, watch)
        backends: list[BackendCalibration] = []
        notes: list[str] = []
        todo = [p for p in processors(device) if _runs(p, backends_there)]
        for index, processor in enumerate(todo):
            # What is left is shared, so that a card does not take the CPU's time.
            lab.deadline = lab.now() + (started + budget_s - _RESERVE_S - lab.now()) / (len(todo) - index)
            own, missing = _of_processor(lab, device, processor, types)
            backends.append(own)
            notes += missing
    threads = device.cpu.usable_threads or 1
    if strict and lab.taken is not None and lab.taken.shortage(threads) > HEAVY:
        raise NoisyError(
            f"the calibration is not kept: while it ran, {'; '.join(lab.taken.reasons(threads))}. Close them and "
            "try again"
        )
    return Calibration(
        at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=round(time.monotonic() - started, 1),
        fingerprint=fingerprint(device),
        engine=installed.identity,
        backends=tuple(backends),
        noise=lab.taken.reasons(threads) if lab.taken is not None else (),
        notes=tuple(notes),
    )


def _runs(processor: Processor, engine_backends: Container[str]) -> bool:
    """Whether the engine was built for the processor. It takes all cards at once, so only the first one counts."""
    return processor.backend == "cpu" or (processor.accelerator == 0 and processor.backend in engine_backends)


def _model_bytes(device: Device) -> int:
    """Size of a model that caches hold little of, within what is free."""
    cache = device.cpu.l3_bytes or device.cpu.l2_bytes or 0
    size = min(_LARGEST_BYTES, max(_SMALLEST_BYTES, _CACHES * cache))
    free = device.memory.budget_now_bytes
    return size if free is None else max(_SMALLEST_BYTES // 4, min(size, free // 4))


def _of_processor(
    lab: Lab, device: Device, processor: Processor, types: Sequence[str]
) -> tuple[BackendCalibration, list[str]]:
    """All models on one processor: the first ones have to be run, the rest as time allows."""
    lab.gpu_layers = 0 if processor.backend == "cpu" else -1
    lab.threads = lab.threads_batch = processor.threads
    name = "" if processor.backend == "cpu" else f" on {processor.backend}"
    try:
        by_threads = _threads(lab, device) if processor.backend == "cpu" else ()
        few = lab.measure(narrow(REFERENCE, 0), f"overhead of a token{name}")
        many = lab.measure(narrow(REFERENCE, lab.size), f"overhead of a block{name}", long=True)
        broad = lab.measure(wide(REFERENCE, lab.size), f"{REFERENCE} weights{name}", long=True)
        rows = lab.measure(short_rows(REFERENCE, lab.size // 2), f"{REFERENCE} rows{name}", prompt=False)
        pairs = [
            Depths(lab.measure(model, f"cache of {model.name}{name}"), lab.measure_deep())
            for model in attention()
        ]
    except OutOfTimeError:
        raise NotEnoughEvidenceError(
            "calibrating took too long: this device is too slow, or too busy, for the first models to be measured "
            "within the minute; estimates stay at grade 'spec'"
        ) from None
    cache = fit_attention(pairs)
    base, _ = fit_base(few, many, broad, rows, cache)
    rates = [fit_type(REFERENCE, broad, rows, base, cache)]
    kinds: list[KindCost] = []
    missing: list[str] = []
    for what in _order(types):
        try:
            if what in KIND_MODELS:
                kinds.append(_kind(lab, what, rates[0], base, cache, name))
            else:
                rates.append(_type(lab, what, base, cache, name))
        except OutOfTimeError:
            missing.append(what)
    notes = [f"{processor.backend}: no time was left for {', '.join(missing)}"] if missing else []
    own = backend_calibration(
        processor.backend,
        processor.accelerator,
        base,
        cache,
        derived(rates, processor),
        kinds,
        by_threads,
        (lab.threads, lab.threads_batch),
    )
    return own, notes


def _order(types: Sequence[str]) -> Iterator[str]:
    yield from types[:_KINDS_AFTER]
    if types:
        yield from KIND_MODELS
    yield from types[_KINDS_AFTER:]


def _type(lab: Lab, kind: str, base: Base, cache: Attention, name: str) -> TypeRate:
    size = lab.size // 2 if kind.startswith(_SLOW) else lab.size
    broad = lab.measure(wide(kind, size), f"{kind} weights{name}")
    try:
        rows = lab.measure(short_rows(kind, size // 2), f"{kind} rows{name}", prompt=False)
    except OutOfTimeError:
        rows = None
    return fit_type(kind, broad, rows, base, cache)


def _kind(lab: Lab, kind: str, rate: TypeRate, base: Base, cache: Attention, name: str) -> KindCost:
    from advisor.catalog import load_catalog

    published = load_catalog().find(KIND_MODELS[kind]).architecture
    assert published is not None, f"{KIND_MODELS[kind]} has an architecture"
    timing = lab.measure(of_kind(published, kind, REFERENCE, lab.size), f"blocks with {kind}{name}")
    return fit_kind(kind, timing, rate, base, cache)


def _threads(lab: Lab, device: Device) -> tuple[ThreadRate, ...]:
    """Try numbers of threads on one small model and keep the best for generating and for prompts."""
    cpu = device.cpu
    usable = cpu.usable_threads or cpu.threads or cpu.cores or 1
    counts = {
        1,
        usable,
        cpu.cores or usable,
        cpu.performance_cores or usable,
        usable // 2 or 1,
        usable // 4 or 1,
    }
    size = buffer_size(cpu.l3_bytes or cpu.l2_bytes, device.memory.budget_now_bytes, caches=2)
    rates: list[ThreadRate] = []
    lab.load(wide(THREADS_TYPE, _SMALLEST_BYTES))
    # Many threads first: with one, a slow board takes longest.
    for threads in sorted((n for n in counts if n <= usable), reverse=True):
        lab.report("1 thread" if threads == 1 else f"{threads} threads")
        lab.threads = lab.threads_batch = threads
        try:
            timing = lab.run()
        except OutOfTimeError:
            if not rates:
                raise
            break
        bandwidth = measure_bandwidth(threads, size, _BANDWIDTH_S).bytes_per_s if size else None
        rates.append(
            ThreadRate(
                threads=threads,
                tg_tokens_per_s=1 / timing.token_s,
                pp_tokens_per_s=1 / timing.prompt_s,
                bandwidth_bytes_per_s=bandwidth,
            )
        )
    lab.threads = max(rates, key=lambda rate: rate.tg_tokens_per_s).threads
    lab.threads_batch = max(rates, key=lambda rate: rate.pp_tokens_per_s).threads
    return tuple(sorted(rates, key=lambda rate: rate.threads))
