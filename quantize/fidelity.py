"""What a quantization changed: the predictions of the built file held against those of its source.

    result = measure_fidelity(Path("model-Q4_K_M.gguf"), Path("model-f16.gguf"), held_out_text())
    result.kl_divergence.value, result.kl_divergence.standard_error

Both models read the same text side by side and predict the same tokens; nothing is stored. Convention and
formulas are those of llama.cpp's tools/perplexity (`--kl-divergence`): the text is cut into chunks of `context`
tokens, each read with an empty cache, and the second half of every chunk is predicted, so that each prediction
has at least half a context before it.

For a predicted token with the reference's distribution p and the built file's q:

    perplexity      exp(mean of -log q(token))
    KL divergence   sum over the vocabulary of p (log p - log q), in nats: 0 for equal models
    same top        share of predictions whose likeliest token is the same

Standard errors are of the mean over predictions, taken chunk by chunk: neighbouring predictions resemble each
other, and 2,000 of them from 8 chunks say less than 2,000 from 80. llama-perplexity counts every prediction as
independent, so its errors are smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from profiles.engine.client import Engine
from profiles.engine.protocol import (
    ChunkCompared,
    EngineFailure,
    MemoryQuestion,
    MemoryReport,
    OpenComparison,
    Reply,
)
from profiles.throughput import require
from quantize.errors import NotComparableError, TooLittleMemoryError
from quantize.gguf_header import read_header
from quantize.hashes import sha256_of

CONTEXT = 512  # tokens of a chunk, llama-perplexity's default
CHUNK_TIMEOUT_S = 3600.0  # a large model from a slow disk may take long over its first chunk
ROWS_AT_ONCE = 128  # predictions whose logits the engine's worker holds at once, for either model

Progress = Callable[[int, int, float], None]
"""Called after each chunk with the chunks done, their number, and the seconds so far."""

T = TypeVar("T", bound=Reply)


class Measure(msgspec.Struct, frozen=True):
    """A number and its standard error."""

    value: float
    standard_error: float


class Fidelity(msgspec.Struct, frozen=True, kw_only=True):
    """How far the built file's predictions are from its source's, on one text."""

    perplexity: Measure  # of the built file
    reference_perplexity: Measure
    perplexity_increase: Measure  # ratio of the two minus 1; its error is that of the paired difference
    kl_divergence: Measure  # mean, nats a token
    kl_divergence_p99: Measure  # the 99th percentile
    same_top: Measure  # share
    predictions: int
    chunks: int
    context: int  # tokens of a chunk
    text: str
    text_sha256: str
    seconds: float


def measure_fidelity(
    built: Path,
    source: Path,
    text: Path,
    *,
    context: int = CONTEXT,
    chunks: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Fidelity:
    """Compare the predictions of `built` with those of `source` on `text`, at most `chunks` chunks of it.

    Raises InvalidModelError for a file that is no model, NotComparableError for models of different vocabularies
    and a text of less than two chunks, TooLittleMemoryError, and EngineError where the engine is missing or
    breaks down.
    """
    import time

    for path in (built, source):
        read_header(path)
    started = time.monotonic()
    results: list[ChunkCompared] = []
    with Engine(timeout_s=CHUNK_TIMEOUT_S) as engine:
        _check_memory(engine, built, source, context)
        question = OpenComparison(str(built), str(source), str(text), context, chunks, threads)
        opened = _answer(engine.open_comparison(question))
        for chunk in range(opened.chunks):
            results.append(_answer(engine.compare_chunk(chunk)))
            if progress is not None:
                progress(chunk + 1, opened.chunks, time.monotonic() - started)
    return summarize(results, context=context, text=text, seconds=time.monotonic() - started)


def summarize(results: Sequence[ChunkCompared], *, context: int, text: Path, seconds: float) -> Fidelity:
    """The statistics of what the engine compared. At least two chunks."""
    nll = _mean([chunk.built_nll for chunk in results])
    reference = _mean([chunk.reference_nll for chunk in results])
    difference = _mean(
        [
            [one - other for one, other in zip(chunk.built_nll, chunk.reference_nll, strict=True)]
            for chunk in results
        ]
    )
    divergences = [chunk.kl_divergence for chunk in results]
    ratio = math.exp(difference.value)
    return Fidelity(
        perplexity=_exponential(nll),
        reference_perplexity=_exponential(reference),
        perplexity_increase=Measure(ratio - 1, ratio * difference.standard_error),
        kl_divergence=_mean(divergences),
        kl_divergence_p99=_percentile(sorted(value for chunk in divergences for value in chunk), 0.99),
        same_top=_mean([chunk.same_top for chunk in results]),
        predictions=sum(map(len, divergences)),
        chunks=len(results),
        context=context,
        text=str(text),
        text_sha256=sha256_of(text),
        seconds=seconds,
    )


def _exponential(mean: Measure) -> Measure:
    value = math.exp(mean.value)
    return Measure(value, value * mean.standard_error)


def _mean(chunks: Sequence[Sequence[float]]) -> Measure:
    """The mean over all numbers, with the standard error for numbers that come in chunks.

    Cluster-robust: each chunk counts by the sum of its deviations, with the correction for a finite number of
    chunks (Cameron and Miller, A Practitioner's Guide to Cluster-Robust Inference, 2015, section II).
    """
    n = sum(map(len, chunks))
    mean = math.fsum(value for chunk in chunks for value in chunk) / n
    squares = math.fsum(math.fsum(value - mean for value in chunk) ** 2 for chunk in chunks)
    count = len(chunks)
    return Measure(mean, math.sqrt(squares * count / (count - 1)) / n)


def _percentile(values: Sequence[float], share: float) -> Measure:
    """A percentile of sorted numbers, linear between neighbours as llama-perplexity takes it.

    Standard error from the spread of the numbers around it: how many fall below it is binomial.
    """
    steps = math.sqrt(len(values) * share * (1 - share))
    place = share * (len(values) - 1)
    low, high = (_at(values, min(max(place + way * steps, 0), len(values) - 1)) for way in (-1, 1))
    return Measure(_at(values, place), (high - low) / 2)


def _at(values: Sequence[float], place: float) -> float:
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (place - below) * (values[above] - values[below])


def _check_memory(engine: Engine, built: Path, source: Path, context: int) -> None:
    """Raises TooLittleMemoryError where the two models do not fit into what is free now."""
    needed = 0
    for path in (built, source):
        question = MemoryQuestion(str(path), context, n_ubatch=ROWS_AT_ONCE, n_batch=ROWS_AT_ONCE)
        report: MemoryReport = _answer(engine.memory(question))
        logits = ROWS_AT_ONCE * (report.output_bytes or 0)  # of one token before there are more
        needed += (
            path.stat().st_size + report.kv_cache_bytes + report.state_bytes + report.compute_bytes + logits
        )
    free = free_bytes()
    if free is not None and needed > free:
        raise TooLittleMemoryError(
            f"comparing {built} and {source} takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free: "
            "close other programs, or take a smaller --context"
        )


def free_bytes() -> int | None:
    """What this process may still take: the system's available memory, or less under a control group's limit."""
    from profiles.ledger import Ledger
    from profiles.machine import Machine
    from profiles.probes.cgroup import read_cgroup
    from profiles.probes.memory import probe_memory

    machine = Machine()
    limits = read_cgroup(machine)
    memory = probe_memory(machine, Ledger("memory"), limits)
    known = [n for n in (memory.available_bytes, limits.memory_headroom_bytes) if n is not None]
    return min(known, default=None)


def _answer(reply: T | EngineFailure) -> T:
    if isinstance(reply, EngineFailure) and reply.kind == "refused":
        raise NotComparableError(reply.message)
    return require(reply)
