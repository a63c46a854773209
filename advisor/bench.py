"""Run a model file on this device: what it does, what was predicted for it, and the record of both.

The prediction is made without what this or an earlier run measured, so that the ledger shows how good the estimates
are and not how good the memory is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from advisor.errors import InvalidInputError, NothingFitsError
from advisor.evidence import Value
from advisor.identify import ModelFile, identify
from advisor.language import _
from profiles.device import Backend, Device
from profiles.energy import energy_meter
from profiles.engine.client import Engine
from profiles.engine.protocol import LoadModel, MemoryQuestion, ModelLoaded
from profiles.machine import Machine
from profiles.noise import conditions, wait_until_quiet
from profiles.sustain import Sustained, sustain
from profiles.text import amount
from profiles.throughput import (
    KV_TYPES,
    LOAD_TIMEOUT_S,
    Progress,
    Rate,
    Run,
    RunSettings,
    ThroughputTest,
    busy_threads,
    require,
    run_tests,
)
from quantize.errors import QuantizeError
from quantize.gguf_header import Header, read_header
from quantize.hashes import sha256_of


class BenchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: every test with every settings."""

    tests: tuple[ThroughputTest, ...]
    settings: tuple[RunSettings, ...]
    repetitions: int = 5
    strict: bool = True  # refuse a busy machine; without it, nothing is recorded
    sustain_minutes: float | None = None


class BenchRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run with the prediction for each of its rates; None where there is none to be made."""

    run: Run
    predicted: tuple[Value | None, ...]
    offload_layers: int  # of n_layer + 1


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a model file did here. `file` is None for an architecture whose tensors are not known here."""

    path: Path
    file_bytes: int
    file: ModelFile | None
    sha256: str | None
    model: ModelLoaded
    device: Device
    engine: str | None  # identity
    backend: Backend
    energy: str = ""  # what spent the joules and what counted them, or why nothing did
    runs: tuple[BenchRun, ...] = ()
    sustained: tuple[Sustained, ...] = ()
    notes: tuple[str, ...] = ()


class Watcher(msgspec.Struct, frozen=True):
    """Who is told how far it is: `tests` while tests run, `sustained` with seconds passed and left."""

    tests: Callable[[Progress], None] = lambda _: None
    sustained: Callable[[float, float], None] = lambda *_: None
    run: Callable[[int, int], None] = lambda *_: None  # which of how many settings begins


def bench(
    path: Path, plan: BenchPlan, engine: Engine, device: Device, watcher: Watcher | None = None
) -> BenchResult:
    """Check the file, run the plan, record the result.

    Raises InvalidInputError and InvalidModelError for a file that cannot be run, NothingFitsError for a context
    larger than the memory, EngineError, and NoisyError on a busy machine.
    """
    from advisor.catalog import load_catalog
    from profiles.engine.fit import gpu_backends
    from profiles.engine.installed import installed_engine

    watcher = watcher or Watcher()
    header = check_file(path)
    notes: list[str] = []
    file: ModelFile | None = None
    try:
        file = identify(path, load_catalog())
    except (QuantizeError, InvalidInputError) as error:
        notes.append(f"no prediction, and the result is not kept: {error}")
    version = require(engine.version())
    cards = gpu_backends(version)
    backend: Backend = msgspec.convert(cards[0], Backend) if cards else "cpu"
    settings = tuple(_with_layers(one, bool(cards)) for one in plan.settings)
    for one in settings:
        n_ctx = max(test.tokens + test.depth for test in plan.tests)
        notes += check_memory(
            engine,
            path,
            header,
            one,
            n_ctx,
            device,
            _("give fewer tokens, a smaller depth or another KV cache type"),
        )
    installed = installed_engine()
    result = BenchResult(
        path=path,
        file_bytes=header.file_bytes,
        file=file,
        sha256=None,
        model=_NOT_LOADED,
        device=device,
        engine=None if installed is None else installed.identity,
        backend=backend if settings[0].gpu_layers else "cpu",
    )
    if plan.sustain_minutes is not None:
        return _sustained(result, plan, engine, settings[0], notes, watcher)
    runs: list[BenchRun] = []
    for number, one in enumerate(settings, 1):
        watcher.run(number, len(settings))
        before = runs[-1].run if runs else None
        loaded = before.model if before and before.settings.gpu_layers == one.gpu_layers else None
        run = run_tests(
            engine,
            path,
            one,
            plan.tests,
            repetitions=plan.repetitions,
            progress=watcher.tests,
            strict=plan.strict,
            model=loaded,
        )
        offload = _offloaded(one.gpu_layers, run.model.n_layer)
        runs.append(
            BenchRun(run=run, predicted=_predictions(file, device, run, backend), offload_layers=offload)
        )
    notes += dict.fromkeys(text for one in runs for text in one.run.conditions)
    result = msgspec.structs.replace(
        result,
        model=runs[0].run.model,
        energy=_energy(runs[0].run.energy_scope, runs[0].run.energy_source),
        runs=tuple(runs),
        sha256=sha256_of(path) if file is not None else None,
        notes=tuple(notes),
    )
    return msgspec.structs.replace(result, notes=(*notes, *_record(result))) if plan.strict else result


_NOT_LOADED = ModelLoaded("", "", 0, 0, 0, 0, 0, 0.0)


def _sustained(
    result: BenchResult,
    plan: BenchPlan,
    engine: Engine,
    settings: RunSettings,
    notes: list[str],
    watcher: Watcher,
) -> BenchResult:
    assert plan.sustain_minutes is not None
    if plan.strict:
        watcher.tests(Progress(phase="waiting"))
        wait_until_quiet(Machine(), busy_threads(settings, settings.threads))
    watcher.tests(Progress(phase="loading"))
    loading = LoadModel(str(result.path), settings.gpu_layers)
    model = require(engine.load_model(loading, timeout_s=LOAD_TIMEOUT_S))
    meter = energy_meter(Machine(), gpu=settings.gpu_layers != 0)
    sustained = sustain(
        engine, settings, plan.tests, plan.sustain_minutes, meter=meter, progress=watcher.sustained
    )
    scope, source = (None, meter) if isinstance(meter, str) else (meter.scope, meter.source)
    return msgspec.structs.replace(
        result,
        model=model,
        energy=_energy(scope, source),
        sustained=sustained,
        notes=(*notes, *conditions(Machine())),
    )


def _energy(scope: str | None, source: str) -> str:
    return source if scope is None else f"{scope}, by {source}"


# --- before the run -------------------------------------------------------------------------------------------

_ENCODERS = ("bert", "t5encoder")


def check_file(path: Path) -> Header:
    """The header of a file that can be tried. Raises InvalidInputError, InvalidModelError."""
    if not path.exists():
        raise InvalidInputError(f"{path} is not there; give the path of a GGUF file")
    if path.is_dir():
        files = sorted(path.glob("*.gguf"))
        hint = f"; it holds {', '.join(file.name for file in files[:3])}" if files else ""
        raise InvalidInputError(f"{path} is a folder; give the path of a GGUF file{hint}")
    header = read_header(path)
    part, parts = header.metadata.get("split.no"), header.metadata.get("split.count")
    if isinstance(part, int) and isinstance(parts, int) and part > 0 and parts > 1:
        raise InvalidInputError(f"{path} is part {part + 1} of {parts} of a model; give its first part")
    if header.architecture == "clip" or header.metadata.get("general.type") in ("mmproj", "adapter"):
        raise InvalidInputError(f"{path} is an addition to a model (vision or adapter) and not a model")
    if header.metadata.get(f"{header.architecture}.attention.causal") is False or any(
        header.architecture.endswith(name) for name in _ENCODERS
    ):
        raise InvalidInputError(
            f"{path} is an embedding model ({header.architecture}): it generates no text whose speed could be measured"
        )
    return header


def _with_layers(settings: RunSettings, cards: bool) -> RunSettings:
    """-1, the default, means all layers on a card where the engine drives one, else none."""
    if cards:
        return settings
    if settings.gpu_layers > 0:
        raise InvalidInputError(
            f"offload-layers {settings.gpu_layers}: this engine drives no graphics card; "
            "'slm-advisor doctor' says which build would"
        )
    return msgspec.structs.replace(settings, gpu_layers=0)


def check_memory(
    engine: Engine,
    path: Path,
    header: Header,
    settings: RunSettings,
    n_ctx: int,
    device: Device,
    remedy: str,
) -> list[str]:
    """Ask the engine what it would allocate, before it does: an overcommitted system would end it, not refuse it.

    Raises NothingFitsError, which says the `remedy`, and EngineError. A file larger than the free memory is a note:
    it can be read from disk.
    """
    free = device.memory.budget_now_bytes
    if settings.gpu_layers or free is None:
        return []
    question = MemoryQuestion(
        str(path),
        n_ctx,
        n_ubatch=settings.n_ubatch,
        n_batch=settings.n_batch,
        type_k=KV_TYPES[settings.type_k],
        type_v=KV_TYPES[settings.type_v],
        flash_attention=settings.flash_attention,
    )
    report = require(engine.memory(question))
    needed = report.kv_cache_bytes + report.state_bytes + report.compute_bytes + report.output_bytes
    if needed > free:
        raise NothingFitsError(
            _(
                "a context of {tokens} tokens needs {needed} beside the weights, and {free} is free; {remedy}"
            ).format(tokens=n_ctx, needed=amount(needed), free=amount(free), remedy=remedy)
        )
    if needed + header.tensor_bytes > free:
        weights = amount(header.tensor_bytes)
        return [
            _(
                "{weights} of weights do not fit into {free} of free memory: they may be read from disk"
            ).format(weights=weights, free=amount(free))
        ]
    return []


# --- prediction -----------------------------------------------------------------------------------------------


def _predictions(
    file: ModelFile | None, device: Device, run: Run, backend: Backend
) -> tuple[Value | None, ...]:
    return tuple(
        None if file is None else predict(file, device, run, rate.test, backend) for rate in run.rates
    )


def predict(
    file: ModelFile, device: Device, run: Run, test: ThroughputTest, backend: Backend
) -> Value | None:
    """The estimate of a test's tokens per second from what is known without having measured it."""
    from advisor.deployment_speed import predict_for
    from advisor.estimate import choose_place
    from advisor.memory import Settings
    from advisor.target import make_target
    from advisor.workload import make_workload

    if test.n_prompt and test.n_gen:
        return None  # a rate of two kinds of work
    target = make_target(device, make_workload(), strict=False)
    layers = _offloaded(run.settings.gpu_layers, run.model.n_layer)
    try:
        place = choose_place(target, backend if layers else "cpu")
    except InvalidInputError:  # the engine drives a card that nothing is known of
        return None
    pp, tg = predict_for(
        file.architecture,
        file.variant,
        target,
        place,
        Settings(
            context_length=test.tokens + test.depth,
            type_k=run.settings.type_k,
            type_v=run.settings.type_v,
            micro_batch=run.settings.n_ubatch,
            offload_layers=layers,
            threads=run.threads,
            threads_batch=run.threads_batch,
        ),
        grade="measured",
        n_prompt=test.n_prompt,
        n_gen=test.n_gen,
        depth=test.depth,
        flash_attention=run.settings.flash_attention,
    )
    return pp or tg


def _offloaded(gpu_layers: int, n_layer: int) -> int:
    """Layers on the card, of n_layer + 1: the blocks and the output head."""
    return n_layer + 1 if gpu_layers < 0 else min(gpu_layers, n_layer + 1)


# --- record ---------------------------------------------------------------------------------------------------


def measured(rate: Rate) -> Value:
    """A rate as a value of the best grade."""
    return Value(rate.value, rate.low, rate.high, "measured")


def _record(result: BenchResult) -> tuple[str, ...]:
    """Keep what was measured; the reasons why something could not be kept."""
    from advisor.measurements import Measurement, now, record
    from profiles.fingerprint import fingerprint

    file = result.file
    if file is None or result.engine is None:
        return ()
    problems: dict[str, None] = {}
    by_type = file.variant.bytes_by_type
    for one in result.runs:
        run, settings = one.run, one.run.settings
        for rate, predicted in zip(run.rates, one.predicted, strict=True):
            test = rate.test
            if test.n_prompt and test.n_gen:
                continue
            value = measured(rate)
            problem = record(
                Measurement(
                    at=now(),
                    evidence="measured",
                    model=file.model.id if file.model else None,
                    quant=file.preset or file.variant.quant,
                    file=file.path.name,
                    load_digest=file.load_digest,
                    file_sha256=result.sha256,
                    parameters=file.parameters,
                    main_type=max(by_type, key=lambda name: by_type[name]),
                    device=fingerprint(result.device),
                    engine=result.engine,
                    backend=result.backend if one.offload_layers else "cpu",
                    type_k=settings.type_k,
                    type_v=settings.type_v,
                    micro_batch=settings.n_ubatch,
                    offload_layers=one.offload_layers,
                    threads=run.threads,
                    threads_batch=run.threads_batch,
                    flash_attention=settings.flash_attention,
                    n_prompt=test.n_prompt,
                    n_gen=test.n_gen,
                    depth=test.depth,
                    pp=value if test.n_prompt else None,
                    tg=value if test.n_gen else None,
                    predicted_pp=predicted if test.n_prompt else None,
                    predicted_tg=predicted if test.n_gen else None,
                )
            )
            if problem:
                problems[problem] = None
    return tuple(problems)
