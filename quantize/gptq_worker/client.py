"""Run one job in a torch process of its own, and leave nothing of it behind.

    with TorchProcess(Load(folder), scratch=scratch) as process:
        for message in process.messages():
            ...

The process leads a group, which is ended as a whole when the block is left, whatever the reason; it also ends by
itself when this program does. It reaches no network and runs no code of a model's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import msgspec

from quantize.errors import GptqError, GptqMissingError, GptqWorkerError, TooLittleMemoryError
from quantize.gptq_worker.protocol import Done, Failed, Job, Message

INSTALL = "pip install torch && pip install 'slm-advisor[gptq]'"

_WORKER = "from quantize.gptq_worker.main import main; main()"
_LAST_WORDS_BYTES = 4000


class TorchProcess:
    """The process and what it says. It works in `scratch`, an existing folder, so that paths in `job` are absolute."""

    def __init__(self, job: Job, *, scratch: Path, threads: int | None = None) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        scratch = scratch.absolute()
        self._process = subprocess.Popen(
            # -P: a folder named `quantize` in the user's working directory must not be imported.
            [sys.executable, "-P", "-c", _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            cwd=scratch,  # GPTQModel writes a folder of logs where it stands
            env=_environment(scratch, threads or usable_cores()),
            start_new_session=True,
        )
        self.pid = self._process.pid
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it broke down as it started: `messages` will say how
            self._process.stdin.write(msgspec.json.encode(job) + b"\n")
            self._process.stdin.flush()  # and left open: when it closes, the process ends

    def __enter__(self) -> TorchProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        self._stderr.close()

    def messages(self) -> Iterator[Message]:
        """What the process says until it is done.

        Raises GptqMissingError, TooLittleMemoryError, GptqError for what cannot be done, and GptqWorkerError.
        """
        assert self._process.stdout is not None
        decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
        for line in self._process.stdout:
            message = decoder.decode(line)
            if isinstance(message, Done):
                return
            if isinstance(message, Failed):
                raise self._error(message)
            yield message
        raise self._cause_of_death()

    def _error(self, failed: Failed) -> Exception:
        match failed.kind:
            case "missing":
                return GptqMissingError(f"{failed.message}; to install it: {INSTALL}")
            case "memory":
                return TooLittleMemoryError(failed.message)
            case "refused":
                return GptqError(failed.message)
            case "error":
                return GptqWorkerError(
                    f"the process with torch broke down: {failed.message}", self._last_words()
                )

    def _cause_of_death(self) -> GptqWorkerError:
        code = self._process.wait()
        words = self._last_words()
        if code == -signal.SIGKILL:
            return GptqWorkerError(
                "the system ended the process with torch, most likely because memory ran out (SIGKILL)", words
            )
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        last = words.rsplit("\n", 1)[-1] or "it said nothing"
        return GptqWorkerError(f"the process with torch ended itself with {how}: {last}", words)

    def _last_words(self) -> str:
        size = os.fstat(self._stderr.fileno()).st_size
        start = max(0, size - _LAST_WORDS_BYTES)
        return os.pread(self._stderr.fileno(), size - start, start).decode(errors="replace").strip()


def usable_cores() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _environment(scratch: Path, threads: int) -> dict[str, str]:
    settings = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Without it GPTQModel starts half as many threads as there are processors, of which it needs two.
        "GPTQMODEL_CPU_WORKERS": str(max(threads, 2)),
        # It would compile its packing code, which takes a compiler and half a minute and gives the same bits.
        "GPTQMODEL_DISABLE_PACK_EXT": "1",
        "TORCHDYNAMO_DISABLE": "1",  # its kernels would be compiled too, for one use each
        "OMP_NUM_THREADS": str(threads),
        "PYTHONHASHSEED": "0",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # what torch needs to compute the same twice on CUDA
    }
    caches = ("TMPDIR", "TORCH_EXTENSIONS_DIR", "GPTQMODEL_TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR")
    settings |= dict.fromkeys(caches, str(scratch))
    return {**os.environ, **settings}
