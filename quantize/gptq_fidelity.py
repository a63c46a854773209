"""What GPTQ changed: the predictions of a checkpoint held against those of its source.

    result = measure_gptq_fidelity(Path("model-GPTQ-4bit-128g"), Path("model"), HELD_OUT)

The same measure as `quantize.fidelity` takes of GGUF files, with the same pieces of text and the same formulas; the
models are read with torch, since the engine reads neither of them. Both compute with 32-bit floats.
"""

from __future__ import annotations

import time
from pathlib import Path

from profiles.engine.protocol import ChunkCompared
from profiles.scratch import scratch_folder
from quantize.errors import GptqError, GptqWorkerError, NotComparableError, TooLittleMemoryError
from quantize.fidelity import CONTEXT, ROWS_AT_ONCE, Fidelity, Progress, free_bytes, summarize
from quantize.gptq import require_gptq
from quantize.gptq_checkpoint import vocabulary_of
from quantize.gptq_worker.client import TorchProcess
from quantize.gptq_worker.protocol import Compare, Device, Started
from quantize.safetensors_header import Weights, read_weights

_TORCH_BYTES = 700_000_000  # a process with torch, transformers and GPTQModel in it


def measure_gptq_fidelity(
    built: Path,
    source: Path,
    text: Path,
    *,
    context: int = CONTEXT,
    chunks: int | None = None,
    threads: int | None = None,
    device: Device = "auto",
    progress: Progress | None = None,
) -> Fidelity:
    """Compare the predictions of the checkpoint in `built` with those of `source` on `text`, at most `chunks` of it.

    Raises GptqMissingError, InvalidModelError for a folder that is no model, NotComparableError for models or a text
    that cannot be compared, TooLittleMemoryError and GptqWorkerError. SIGTERM and SIGHUP become SystemExit meanwhile.
    """
    started = time.monotonic()
    require_gptq()
    _check_memory(read_weights(built), read_weights(source))
    job = Compare(
        built=str(built.absolute()),
        source=str(source.absolute()),
        text=str(text.absolute()),
        context=context,
        chunks=chunks,
        device=device,
    )
    results: list[ChunkCompared] = []
    total = 0
    with scratch_folder(0) as scratch, TorchProcess(job, scratch=scratch.path, threads=threads) as process:
        try:
            for message in process.messages():
                match message:
                    case Started():
                        total = message.total
                    case ChunkCompared():
                        results.append(message)
                        if progress is not None:
                            progress(len(results), total, time.monotonic() - started)
        except GptqWorkerError:
            raise
        except GptqError as error:
            raise NotComparableError(str(error)) from error
    return summarize(results, context=context, text=text, seconds=time.monotonic() - started)


def comparing_bytes(parameters: int, checkpoint_bytes: int, vocabulary: int) -> int:
    """Memory to compare a checkpoint of that size with its source of that many parameters."""
    logits = 2 * 4 * ROWS_AT_ONCE * vocabulary
    # The checkpoint is put in the place of a copy of the source, so that the larger of two moments counts.
    return _TORCH_BYTES + 4 * parameters + 2 * checkpoint_bytes + logits


def _check_memory(built: Weights, source: Weights) -> None:
    """Raises TooLittleMemoryError where the source in 32 bits and the checkpoint do not fit into what is free now."""
    needed = comparing_bytes(source.parameters, built.bytes, vocabulary_of(source))
    free = free_bytes()
    if free is not None and needed > free:
        raise TooLittleMemoryError(
            f"comparing with 32-bit floats takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free: "
            "close other programs"
        )
