"""llama-bench's JSON: what its real output says, and what is not taken for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from profiles.errors import RemoteAnswerError, RemoteCommandError
from profiles.llama_bench import LlamaBenchTest, read_llama_bench, run_llama_bench

SAMPLES = Path(__file__).with_name("llama_bench")


def sample() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((SAMPLES / "gemma-3-270m-q4_k_m.json").read_text())
    return rows


def written(**changes: Any) -> bytes:
    """The real output with the fields of its first row changed; None leaves the field out."""
    rows = sample()
    rows[0].update(changes)
    rows[0] = {key: value for key, value in rows[0].items() if value is not None}
    return json.dumps(rows).encode()


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_real_output_is_read(ending: str) -> None:
    """Two tests with one thread and with two: names, threads, sizes and every sample."""
    rows = read_llama_bench((SAMPLES / f"gemma-3-270m-q4_k_m.{ending}").read_bytes())
    assert [(row.name, row.n_threads) for row in rows] == [
        ("pp128", 1),
        ("tg32", 1),
        ("pp128", 2),
        ("tg32", 2),
    ]
    for row in rows:
        assert (row.model_size, row.model_n_params) == (246_587_904, 268_098_176)
        assert (row.type_k, row.type_v, row.flash_attn, row.backends) == ("f16", "f16", -1, "CPU")
        assert len(row.samples_ts) == 3
        assert min(row.samples_ts) <= row.avg_ts <= max(row.samples_ts)


def test_older_versions_are_read() -> None:
    """Before depth and automatic flash attention there were fewer fields, and booleans."""
    (row, *_) = read_llama_bench(written(n_depth=None, flash_attn=True, backends=None, use_mmap=True))
    assert (row.n_depth, row.flash_attn, row.backends) == (0, True, None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"[\n",  # what llama-bench leaves when the model does not load
        (SAMPLES / "gemma-3-270m-q4_k_m.json").read_bytes()[:-40],
        b"| model | size | t/s |",
        b"[" * 100_000,
        b"{" + b'"a":[' * 100_000,
        b'{"avg_ts": 1e999}',
        written(avg_ts=-1.0),
        written(avg_ts=0),
        written(avg_ts="fast"),
        written(avg_ts=1e300),
        written(avg_ts=1000.0),  # not the mean of its samples
        written(n_prompt=0, n_gen=0),
        written(n_gen=-1),
        written(model_filename="x" * 10_000),
        written(model_size=10**400),
        written(flash_attn=7),
        b" " * (2 << 20),
        json.dumps(sample() * 300).encode(),
    ],
    ids=lambda content: content[:24].decode() + f" ({len(content)})",
)
def test_anything_else_is_refused(content: bytes) -> None:
    """Nothing that is cut, out of range or contradicts itself becomes a speed."""
    with pytest.raises(RemoteAnswerError, match="llama-bench"):
        read_llama_bench(content)


def test_a_test_is_run_with_its_own_settings(tmp_path: Path) -> None:
    """What the program on the target is given: the model's odd name whole, and only the settings that were set."""
    program = _program(tmp_path, 'printf "%s\\n" "$@" > "$0.args"; exit 3')
    test = LlamaBenchTest(n_prompt=64, n_gen=0, threads=3, type_k="q8_0", flash_attention=True)
    with pytest.raises(RemoteCommandError, match="failed with exit code 3"):
        run_llama_bench(("env",), (program,), "/m/it's $HOME.gguf", test)
    arguments = Path(f"{program}.args").read_text().splitlines()
    assert arguments[:4] == ["-m", "/m/it's $HOME.gguf", "-o", "json"]
    assert arguments[4:] == ["-p", "64", "-n", "0", "-t", "3", "-ctk", "q8_0", "-fa", "1", "-r", "5"]


def test_an_answer_about_another_model_is_refused(tmp_path: Path) -> None:
    """A program that reports what it was not asked for is not believed."""
    program = _program(tmp_path, f"cat '{SAMPLES / 'gemma-3-270m-q4_k_m.json'}'")
    with pytest.raises(RemoteAnswerError, match=r"asked was '/m/other.gguf'"):
        run_llama_bench(("env",), (program,), "/m/other.gguf", LlamaBenchTest(n_prompt=128, n_gen=32))


def test_a_test_without_a_row_is_refused(tmp_path: Path) -> None:
    """The sample has no tg64."""
    program = _program(tmp_path, f"cat '{SAMPLES / 'gemma-3-270m-q4_k_m.json'}'")
    with pytest.raises(RemoteAnswerError, match="no answer for tg64"):
        run_llama_bench(
            ("env",), (program,), "gemma-3-270m-q4_k_m.gguf", LlamaBenchTest(n_prompt=128, n_gen=64)
        )


def test_a_program_that_is_not_there_is_named() -> None:
    """The words of the target's shell come along."""
    with pytest.raises(
        RemoteCommandError, match=r"'/nowhere/llama-bench' cannot be started[\s\S]*No such file"
    ):
        run_llama_bench(("env",), ("/nowhere/llama-bench",), "m.gguf", LlamaBenchTest())


def test_a_real_llama_bench_answers(smollm2: Path) -> None:
    """The whole way with the real program, over a shell of this machine."""
    program = shutil.which("llama-bench")
    if program is None:
        pytest.skip("no llama-bench on the PATH")
    test = LlamaBenchTest(n_prompt=16, n_gen=4, n_depth=8, threads=1, repetitions=2, flash_attention=False)
    prompt, answer = run_llama_bench(("env",), (program,), str(smollm2), test)
    assert (prompt.name, answer.name) == ("pp16 @ d8", "tg4 @ d8")
    assert prompt.model_n_params == 134_515_008
    assert (prompt.n_threads, prompt.flash_attn, len(answer.samples_ts)) == (1, 0, 2)


def _program(folder: Path, text: str) -> str:
    path = folder / "a llama-bench"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)
