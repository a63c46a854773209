"""Ask the engine from a process that must survive it.

    with Engine() as engine:
        match engine.quantize_dry_run(path, ftype=15):
            case QuantizePlan(tensors=tensors): ...
            case EngineFailure(message=why): ...

The worker starts with the first question and serves many; after a crash the next question starts a new one.
"""

from __future__ import annotations

import fcntl
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from profiles.engine.protocol import (
    AnswerPart,
    AnswerStarted,
    Blocks,
    CalibrateChunk,
    CalibrationOpened,
    ChunkCalibrated,
    ChunkCompared,
    CompareChunk,
    ComparisonOpened,
    ContextOpened,
    ContinueAnswer,
    Describe,
    EngineFailure,
    EngineVersion,
    ImatrixTaken,
    LoadModel,
    MemoryQuestion,
    MemoryReport,
    MemoryUse,
    MemoryUsed,
    ModelLoaded,
    OpenCalibration,
    OpenComparison,
    OpenContext,
    Quantize,
    Quantized,
    QuantizeDryRun,
    QuantizePlan,
    Reply,
    Request,
    RunTest,
    SampleBlocks,
    StartAnswer,
    TakeImatrix,
    TestTiming,
    TypeChoices,
)

Answer = TypeVar("Answer", bound=Reply)

_WORKER = "from profiles.engine.worker import main; main()"
_LAST_WORDS_BYTES = 4000
_SOURCE_FOLDER = re.compile(r"\S*/(?=[\w.-]+:\d+: )")


class Engine:
    """One worker process and the questions it can be asked.

    A question waits `timeout_s` seconds for its answer, its own or else the engine's. One thread asks; `close`
    may come from any thread, and ends the question under way. `prefix` are words before the worker's command, which
    must become it, as those of `profiles.limits` do.
    """

    def __init__(self, timeout_s: float = 60.0, *, prefix: Sequence[str] = ()) -> None:
        self._timeout_s = timeout_s
        self._prefix = tuple(prefix)
        self._worker: _Worker | None = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker. Safe to call twice."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()

    @property
    def pid(self) -> int | None:
        """The worker's process, for readers of /proc; None while there is none."""
        return self._worker.pid if self._worker is not None else None

    def version(self, *, timeout_s: float | None = None) -> EngineVersion | EngineFailure:
        """Which engine answers here."""
        return self._ask(Describe(), EngineVersion, timeout_s)

    def quantize_dry_run(
        self,
        path: Path,
        ftype: int,
        *,
        imatrix: bool = False,
        types: TypeChoices | None = None,
        timeout_s: float | None = None,
    ) -> QuantizePlan | EngineFailure:
        """The type and exact size that each tensor of the GGUF at `path` would get."""
        return self._ask(
            QuantizeDryRun(str(path), ftype, imatrix, types or TypeChoices()), QuantizePlan, timeout_s
        )

    def quantize(self, request: Quantize, *, timeout_s: float | None = None) -> Quantized | EngineFailure:
        """Write a quantized file."""
        return self._ask(request, Quantized, timeout_s)

    def memory(
        self, question: MemoryQuestion, *, timeout_s: float | None = None
    ) -> MemoryReport | EngineFailure:
        """What the engine would allocate for a model and a context."""
        return self._ask(question, MemoryReport, timeout_s)

    def load_model(self, model: LoadModel, *, timeout_s: float | None = None) -> ModelLoaded | EngineFailure:
        """Load a model to run it, in place of the one before."""
        return self._ask(model, ModelLoaded, timeout_s)

    def open_context(
        self, context: OpenContext, *, timeout_s: float | None = None
    ) -> ContextOpened | EngineFailure:
        """Make a context for the loaded model, in place of the one before."""
        return self._ask(context, ContextOpened, timeout_s)

    def run_test(self, test: RunTest, *, timeout_s: float | None = None) -> TestTiming | EngineFailure:
        """Time one repetition of a test in the open context."""
        return self._ask(test, TestTiming, timeout_s)

    def start_answer(
        self, request: StartAnswer, *, timeout_s: float | None = None
    ) -> AnswerStarted | EngineFailure:
        """Begin an answer to a conversation."""
        return self._ask(request, AnswerStarted, timeout_s)

    def continue_answer(
        self, request: ContinueAnswer, *, timeout_s: float | None = None
    ) -> AnswerPart | EngineFailure:
        """The next few tokens of it."""
        return self._ask(request, AnswerPart, timeout_s)

    def sample_blocks(
        self, types: Iterable[str], blocks: int, *, timeout_s: float | None = None
    ) -> Blocks | EngineFailure:
        """Valid random blocks of each tensor type."""
        return self._ask(SampleBlocks(tuple(types), blocks), Blocks, timeout_s)

    def memory_use(self, *, timeout_s: float | None = None) -> MemoryUsed | EngineFailure:
        """The memory of the worker process."""
        return self._ask(MemoryUse(), MemoryUsed, timeout_s)

    def open_calibration(
        self, request: OpenCalibration, *, timeout_s: float | None = None
    ) -> CalibrationOpened | EngineFailure:
        """Load a model and a text to collect an importance matrix from."""
        return self._ask(request, CalibrationOpened, timeout_s)

    def calibrate_chunk(
        self, chunk: int, *, timeout_s: float | None = None
    ) -> ChunkCalibrated | EngineFailure:
        """Read one chunk of that text."""
        return self._ask(CalibrateChunk(chunk), ChunkCalibrated, timeout_s)

    def take_imatrix(self, *, timeout_s: float | None = None) -> ImatrixTaken | EngineFailure:
        """What was collected."""
        return self._ask(TakeImatrix(), ImatrixTaken, timeout_s)

    def open_comparison(
        self, request: OpenComparison, *, timeout_s: float | None = None
    ) -> ComparisonOpened | EngineFailure:
        """Load two models and a text to read with both."""
        return self._ask(request, ComparisonOpened, timeout_s)

    def compare_chunk(self, chunk: int, *, timeout_s: float | None = None) -> ChunkCompared | EngineFailure:
        """Predict the second half of one chunk with both."""
        return self._ask(CompareChunk(chunk), ChunkCompared, timeout_s)

    def _ask(
        self, request: Request, expected: type[Answer], timeout_s: float | None
    ) -> Answer | EngineFailure:
        try:
            line = msgspec.json.encode(request)
        except UnicodeEncodeError:  # Python's way to keep a file name that is no text
            return EngineFailure("refused", "the file's name is not valid UTF-8: give it another one")
        if self._worker is None:
            self._worker = _Worker(self._prefix)
        try:
            reply = self._worker.ask(line, self._timeout_s if timeout_s is None else timeout_s)
        except BaseException:  # Ctrl-C above all: the worker may be deep in the engine, so it ends too
            self.close()
            raise
        if isinstance(reply, expected):
            return reply
        assert isinstance(reply, EngineFailure), f"{request} was answered with {reply}"
        if reply.kind != "refused":
            self.close()
        return reply


class _Worker:
    """The process, a thread that reads its replies, and a file that takes its last words."""

    def __init__(self, prefix: tuple[str, ...]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        # After the file is emptied, the worker must go on writing at its new end.
        fcntl.fcntl(self._stderr, fcntl.F_SETFL, os.O_APPEND)
        self._stderr_lock = threading.Lock()
        self._killed = False
        self._process = subprocess.Popen(
            # -P: a folder named `profiles` in the user's working directory must not be imported.
            [*prefix, sys.executable, "-P", "-c", _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            # Without this an aborting engine starts a debugger on itself to print a backtrace.
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},
        )
        self.pid = self._process.pid
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests = self._process.stdin
        self._replies: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def ask(self, line: bytes, timeout_s: float) -> Reply:
        """Send a request and wait; whatever goes wrong with the process is an `EngineFailure`."""
        try:
            self._stderr.truncate(0)  # last words are about the last request
            self._requests.write(line + b"\n")
            self._requests.flush()
            answer = self._replies.get(timeout=timeout_s)
        except (BrokenPipeError, ValueError):  # it has ended; or another thread has just closed its files
            answer = None
        except queue.Empty:
            words = self._last_words()
            return EngineFailure("timeout", f"the engine gave no answer in {timeout_s:g} s", words)
        if answer is None:
            return self._cause_of_death()
        reply: Reply = msgspec.json.decode(answer, type=Reply)
        return reply

    def kill(self) -> None:
        self._killed = True
        self._process.kill()
        self._process.wait()
        self._reader.join()
        # A request that never reached the worker may still sit in the pipe's buffer.
        with suppress(BrokenPipeError):
            self._requests.close()
        with self._stderr_lock:
            self._stderr.close()

    def _read(self, stdout: IO[bytes]) -> None:
        with stdout:
            for line in stdout:
                self._replies.put(line)
        self._replies.put(None)

    def _cause_of_death(self) -> EngineFailure:
        if self._killed:
            self._process.wait()  # whoever gets this answer may rely on its end
            return EngineFailure("closed", "the engine was closed while it worked")
        code = self._process.wait()
        words = self._last_words()
        if code == -signal.SIGKILL:
            return EngineFailure(
                "killed", "the system ended the engine, most likely because memory ran out (SIGKILL)", words
            )
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        # A failed assertion names its place in the source by the path it had on the machine that built it.
        last = _SOURCE_FOLDER.sub("", words.rsplit("\n", 1)[-1]) or "it said nothing"
        return EngineFailure("crashed", f"the engine ended itself with {how}: {last}", words)

    def _last_words(self) -> str:
        with self._stderr_lock:
            if self._stderr.closed:
                return ""
            # Not by seeking: the worker writes through the same open file.
            size = os.fstat(self._stderr.fileno()).st_size
            start = max(0, size - _LAST_WORDS_BYTES)
            return os.pread(self._stderr.fileno(), size - start, start).decode(errors="replace").strip()
