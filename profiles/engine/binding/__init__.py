"""The engine's C interface, and the only package that imports llama_cpp. Runs in the worker.

Each module answers one kind of request; what is loaded stays in one `Session` between requests.
"""

from __future__ import annotations

from profiles.engine.binding import blocks, memory, process, quantize, timing, version
from profiles.engine.binding.chat import Talk
from profiles.engine.binding.ggml import load_backends
from profiles.engine.binding.log import RefusedError
from profiles.engine.binding.session import Session
from profiles.engine.binding.text import Texts
from profiles.engine.protocol import (
    CalibrateChunk,
    CompareChunk,
    ContinueAnswer,
    Describe,
    LoadModel,
    MemoryQuestion,
    MemoryUse,
    OpenCalibration,
    OpenComparison,
    OpenContext,
    Quantize,
    QuantizeDryRun,
    Reply,
    Request,
    RunTest,
    SampleBlocks,
    StartAnswer,
    TakeImatrix,
)

__all__ = ["RefusedError", "answer"]

load_backends()
_session = Session()
_talk = Talk(_session)
_texts = Texts()


def answer(request: Request) -> Reply:
    """Answer one request. Raises RefusedError."""
    match request:
        case Describe():
            return version.version()
        case QuantizeDryRun():
            return quantize.quantize_dry_run(request)
        case Quantize():
            return quantize.quantize(request)
        case MemoryQuestion():
            return memory.memory(request)
        case LoadModel():
            process.reset_peak()
            return _session.load(request)
        case OpenContext():
            return _session.open(request)
        case RunTest():
            return timing.run_test(_session, request)
        case StartAnswer() | ContinueAnswer():
            return _talk.answer(request)
        case SampleBlocks():
            return blocks.sample_blocks(request)
        case MemoryUse():
            return process.memory_used(_session.saved_state_bytes)
        case OpenCalibration() | CalibrateChunk() | TakeImatrix() | OpenComparison() | CompareChunk():
            return _texts.answer(request)
