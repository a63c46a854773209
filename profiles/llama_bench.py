"""llama-bench, llama.cpp's own speed test: its JSON, read as untrusted, and running it on a target.

Fields have llama-bench's own names (its README, "Output formats"; read against build 0.3.36 of the engine's source).
Versions differ: what a version does not write is None here, and fields we do not know are passed over.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from profiles.errors import RemoteAnswerError, RemoteCommandError, with_output
from profiles.remote import Report, run_remote

TIMEOUT_S = 1800.0
LIMIT_BYTES = 1 << 20
MAX_ROWS = 1000
_MAX_TOKENS_PER_S = 1e9

Text = Annotated[str, msgspec.Meta(max_length=4096)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
Speed = Annotated[float, msgspec.Meta(gt=0, le=_MAX_TOKENS_PER_S)]
Spread = Annotated[float, msgspec.Meta(ge=0, le=_MAX_TOKENS_PER_S)]


class LlamaBenchRow(msgspec.Struct, frozen=True, kw_only=True):
    """One test: `n_prompt` tokens of prompt processing and `n_gen` of generation behind `n_depth` in the cache.

    Speeds in tokens per second. `flash_attn` is 1, 0 or -1 for automatic; `n_gpu_layers` -1 is the engine's choice.
    """

    model_filename: Text
    model_type: Text | None = None
    model_size: Count | None = None  # bytes of its tensors, without the file's header
    model_n_params: Count | None = None
    n_prompt: Count
    n_gen: Count
    n_depth: Count = 0
    n_threads: Count | None = None
    n_batch: Count | None = None
    n_ubatch: Count | None = None
    type_k: Text | None = None
    type_v: Text | None = None
    n_gpu_layers: Annotated[int, msgspec.Meta(ge=-2, le=100_000)] | None = None
    flash_attn: Literal[-1, 0, 1] | bool | None = None
    avg_ts: Speed
    stddev_ts: Spread
    samples_ts: Annotated[tuple[Speed, ...], msgspec.Meta(max_length=10_000)] = ()
    build_commit: Text | None = None
    build_number: int | None = None
    cpu_info: Text | None = None
    gpu_info: Text | None = None
    backends: Text | None = None
    devices: Text | None = None
    test_time: Text | None = None

    @property
    def name(self) -> str:
        """As llama-bench writes it: "pp512", "tg128 @ d4096", "pp512+tg128"."""
        parts = [f"pp{self.n_prompt}"] if self.n_prompt else []
        parts += [f"tg{self.n_gen}"] if self.n_gen else []
        return "+".join(parts) + (f" @ d{self.n_depth}" if self.n_depth else "")


class LlamaBenchTest(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: with both lengths, two rows come back. None leaves a setting to llama-bench."""

    n_prompt: int = 512
    n_gen: int = 128
    n_depth: int = 0
    threads: int | None = None
    n_batch: int | None = None
    n_ubatch: int | None = None
    type_k: str | None = None
    type_v: str | None = None
    n_gpu_layers: int | None = None
    flash_attention: bool | None = None
    repetitions: int = 5

    def arguments(self) -> list[str]:
        """Its options on llama-bench's command line, in the forms that old and new versions take."""
        flash = None if self.flash_attention is None else int(self.flash_attention)
        options = (
            ("-p", self.n_prompt),
            ("-n", self.n_gen),
            ("-d", self.n_depth or None),
            ("-t", self.threads),
            ("-b", self.n_batch),
            ("-ub", self.n_ubatch),
            ("-ctk", self.type_k),
            ("-ctv", self.type_v),
            ("-ngl", self.n_gpu_layers),
            ("-fa", flash),
            ("-r", self.repetitions),
        )
        return [word for option, value in options if value is not None for word in (option, str(value))]


def read_llama_bench(content: bytes) -> tuple[LlamaBenchRow, ...]:
    """The rows of `llama-bench -o json` or `-o jsonl`.

    Raises RemoteAnswerError for anything else: cut, too large, a speed that is none, no row at all.
    """
    if len(content) > LIMIT_BYTES:
        raise RemoteAnswerError(f"llama-bench's output is larger than {LIMIT_BYTES} bytes: not read")
    text = content.strip()
    try:
        if text.startswith(b"["):
            rows = msgspec.json.decode(text, type=tuple[LlamaBenchRow, ...])
        else:
            lines = [line for line in text.splitlines() if line.strip()]
            if len(lines) > MAX_ROWS:
                raise RemoteAnswerError(f"llama-bench's output has {len(lines)} lines: not read")
            rows = tuple(msgspec.json.decode(line, type=LlamaBenchRow) for line in lines)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteAnswerError(
            f"llama-bench's output cannot be understood ({error}); it must be run with -o json, and to its end"
        ) from None
    if not rows or len(rows) > MAX_ROWS:
        raise RemoteAnswerError(f"llama-bench's output has {len(rows)} rows; expected 1 to {MAX_ROWS}")
    for row in rows:
        _check(row)
    return rows


def run_llama_bench(
    prefix: Sequence[str],
    command: Sequence[str],
    model_path: str,
    test: LlamaBenchTest,
    *,
    timeout_s: float = TIMEOUT_S,
    report: Report | None = None,
) -> tuple[LlamaBenchRow, ...]:
    """Run llama-bench on the target and return its rows, in the order it wrote them.

    command: the program there and what must stand before it: ("/opt/llama-bench",), or
    ("env", "LD_LIBRARY_PATH=/data/local/tmp", "/data/local/tmp/llama-bench") where its libraries lie beside it.
    model_path: the file there, with its home folder written out (`RemoteFile.path`).
    Raises RemoteCommandError where it could not be started or refused the model or the test, RemoteAnswerError for an
    answer that is not of this model and test, and what `run_remote` raises.
    """
    argv = [*command, "-m", model_path, "-o", "json", *test.arguments()]
    result = run_remote(prefix, argv, timeout_s=timeout_s, limit_bytes=LIMIT_BYTES, report=report)
    if result.exit_code != 0:
        absent = result.exit_code in (126, 127)
        words = tuple(line.strip()[:200] for line in result.stderr_tail.splitlines() if line.strip())[-4:]
        what = "cannot be started" if absent else f"failed with exit code {result.exit_code}"
        raise RemoteCommandError(
            with_output(
                f"'{shlex.join(command)}' {what} on the target of '{shlex.join(prefix)}'",
                words=words,
                advice="give its whole path there, and see that it is executable and finds its libraries"
                if absent
                else None,
            )
        )
    rows = read_llama_bench(result.stdout)
    for row in rows:
        if row.model_filename != model_path or (row.n_depth != test.n_depth):
            raise RemoteAnswerError(
                f"llama-bench answered about '{row.model_filename}' ({row.name}), asked was '{model_path}'"
            )
    missing = {("pp", test.n_prompt), ("tg", test.n_gen)} - {
        ("tg", row.n_gen) if row.n_gen else ("pp", row.n_prompt) for row in rows
    }
    if left := sorted(f"{kind}{count}" for kind, count in missing if count):
        raise RemoteAnswerError(f"llama-bench gave no answer for {', '.join(left)}")
    return rows


def _check(row: LlamaBenchRow) -> None:
    """What no single field tells: a test of nothing, a mean that its samples do not have."""
    if not row.n_prompt and not row.n_gen:
        raise RemoteAnswerError("llama-bench's output has a row without a prompt and without an answer")
    if row.samples_ts:
        mean = math.fsum(row.samples_ts) / len(row.samples_ts)
        # Samples are written with six digits.
        if not math.isclose(mean, row.avg_ts, rel_tol=1e-3):
            raise RemoteAnswerError(
                f"llama-bench's row {row.name} contradicts itself: a mean of {row.avg_ts:g} tokens/s, and samples "
                f"whose mean is {mean:g}"
            )
