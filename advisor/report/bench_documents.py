"""What `slm-advisor bench` prints: the structs behind its JSON document."""

from __future__ import annotations

import msgspec

from advisor.bench import BenchResult, BenchRun, measured
from advisor.evidence import Value
from profiles.engine.protocol import FlashAttention
from profiles.sustain import Sustained
from profiles.throughput import Rate


class BenchFile(msgspec.Struct, frozen=True, kw_only=True):
    """The file that was run. `model` and `quant` are the catalog's names for it, null where it has none."""

    path: str
    file_bytes: int
    sha256: str | None
    description: str  # the engine's words
    architecture: str
    parameters: int
    tensor_bytes: int
    model: str | None
    quant: str | None


class BenchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How it was run. `offload_layers` counts as llama.cpp does: n_layer + 1 is everything, 0 nothing."""

    threads: int
    threads_batch: int
    batch: int
    micro_batch: int
    type_k: str
    type_v: str
    offload_layers: int
    flash_attention: FlashAttention


class BenchRate(msgspec.Struct, frozen=True, kw_only=True):
    """One test. `noise` says why the interval is wide; `predicted` was made without this measurement."""

    test: str
    n_prompt: int
    n_gen: int
    depth: int
    tokens_per_s: Value
    samples_tokens_per_s: tuple[float, ...]
    noise: tuple[str, ...]
    predicted_tokens_per_s: Value | None
    joules_per_token: float | None


class BenchFirstToken(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from a prompt to the first token of its answer, the model being loaded."""

    n_prompt: int
    depth: int
    ttft_s: Value


class BenchRunView(msgspec.Struct, frozen=True, kw_only=True):
    """All tests with the same settings."""

    settings: BenchSettings
    load_s: float
    first_token: BenchFirstToken | None
    peak_resident_bytes: int | None
    rates: tuple[BenchRate, ...]


class BenchMinute(msgspec.Struct, frozen=True, kw_only=True):
    """Medians of the first or the last minute of a long run."""

    tokens_per_s: float
    temperature_c: float | None
    clock_hz: float | None


class BenchSustained(msgspec.Struct, frozen=True, kw_only=True):
    """A test repeated for minutes: `ratio` is the last `window_s` by the first."""

    test: str
    minutes: float
    window_s: float
    repetitions: int
    first: BenchMinute
    last: BenchMinute
    ratio: Value
    verdict: str  # "steady", "throttled" or "unclear"
    explanation: str
    joules_per_token: float | None


class BenchDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`bench --json`. `energy` names what spent the joules and what counted them, or why nothing did."""

    file: BenchFile
    engine: str | None
    backend: str
    device: str | None
    fingerprint: str
    runs: tuple[BenchRunView, ...]
    sustained: tuple[BenchSustained, ...]
    energy: str
    notes: tuple[str, ...]


def bench_document(result: BenchResult) -> BenchDocument:
    """The document of a result."""
    from profiles.fingerprint import fingerprint

    file, model = result.file, result.model
    return BenchDocument(
        file=BenchFile(
            path=str(result.path),
            file_bytes=result.file_bytes,
            sha256=result.sha256,
            description=model.description,
            architecture=model.architecture,
            parameters=model.n_params,
            tensor_bytes=model.tensor_bytes,
            model=file.model.id if file and file.model else None,
            quant=None if file is None else file.preset or file.variant.quant,
        ),
        engine=result.engine,
        backend=result.backend,
        device=result.device.name or result.device.cpu.name,
        fingerprint=fingerprint(result.device),
        runs=tuple(_run(one) for one in result.runs),
        sustained=tuple(_sustained(one) for one in result.sustained),
        energy=result.energy,
        notes=result.notes,
    )


def _run(one: BenchRun) -> BenchRunView:
    run, settings, first = one.run, one.run.settings, one.run.first_token
    return BenchRunView(
        settings=BenchSettings(
            threads=run.threads,
            threads_batch=run.threads_batch,
            batch=settings.n_batch,
            micro_batch=settings.n_ubatch,
            type_k=settings.type_k,
            type_v=settings.type_v,
            offload_layers=one.offload_layers,
            flash_attention=settings.flash_attention,
        ),
        load_s=run.load_s,
        first_token=None
        if first is None
        else BenchFirstToken(
            n_prompt=first.n_prompt,
            depth=first.depth,
            ttft_s=Value(first.value, first.low, first.high, "measured"),
        ),
        peak_resident_bytes=run.peak_resident_bytes,
        rates=tuple(_rate(rate, predicted) for rate, predicted in zip(run.rates, one.predicted, strict=True)),
    )


def _rate(rate: Rate, predicted: Value | None) -> BenchRate:
    return BenchRate(
        test=rate.test.name,
        n_prompt=rate.test.n_prompt,
        n_gen=rate.test.n_gen,
        depth=rate.test.depth,
        tokens_per_s=measured(rate),
        samples_tokens_per_s=rate.samples,
        noise=rate.noise,
        predicted_tokens_per_s=predicted,
        joules_per_token=rate.joules_per_token,
    )


def _sustained(one: Sustained) -> BenchSustained:
    return BenchSustained(
        test=one.test.name,
        minutes=one.minutes,
        window_s=one.window_s,
        repetitions=one.repetitions,
        first=BenchMinute(**msgspec.structs.asdict(one.first)),
        last=BenchMinute(**msgspec.structs.asdict(one.last)),
        ratio=Value(one.ratio, one.ratio_low, one.ratio_high, "measured"),
        verdict=one.verdict,
        explanation=one.words,
        joules_per_token=one.joules_per_token,
    )
