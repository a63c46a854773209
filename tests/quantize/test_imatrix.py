"""Importance matrices: collected as llama-imatrix collects them, in its files."""

from __future__ import annotations

import math
import shutil
import struct
import subprocess
from array import array
from pathlib import Path

import pytest

from profiles.engine.client import Engine
from profiles.engine.protocol import ImatrixTensor
from quantize.errors import ImatrixError
from quantize.imatrix import Imatrix, collect_imatrix, read_imatrix, write_imatrix
from quantize.texts import CALIBRATION
from tests.quantize.smollm2 import smollm2

DATA = Path(__file__).parent / "data" / "fidelity"


def cosine(one: bytes, other: bytes) -> float:
    a, b = array("f", one), array("f", other)
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def test_a_file_of_llama_imatrix_is_read_and_written_back_byte_for_byte(tmp_path: Path) -> None:
    theirs = read_imatrix(DATA / "llama-imatrix.gguf")
    assert (theirs.datasets, theirs.chunks, theirs.chunk_tokens) == (("calibration.txt",), 4, 512)
    assert theirs.tensors["blk.14.ffn_down.weight"].counts == (4 * 512,)
    write_imatrix(theirs, tmp_path / "ours.gguf")
    assert (tmp_path / "ours.gguf").read_bytes() == (DATA / "llama-imatrix.gguf").read_bytes()


def test_the_older_format_says_the_same(tmp_path: Path) -> None:
    new, old = (read_imatrix(DATA / f"llama-imatrix.{kind}") for kind in ("gguf", "dat"))
    assert (old.datasets, old.chunks, old.chunk_tokens) == (("calibration.txt",), 4, None)
    assert len(old.tensors) == 4
    for name in old.tensors:
        assert array("f", old.importance()[name]) == pytest.approx(
            array("f", new.importance()[name]), rel=1e-4
        )


def test_an_expert_without_tokens_counts_every_column_alike(tmp_path: Path) -> None:
    """Mean squares by expert; the second expert was never chosen."""
    sums = struct.pack("<6f", 8, 2, 4, 0, 0, 0)
    matrix = Imatrix(
        tensors={"blk.0.ffn_up_exps.weight": ImatrixTensor(sums, (2, 0))},
        datasets=(),
        chunks=1,
        chunk_tokens=512,
    )
    write_imatrix(matrix, tmp_path / "experts.gguf")
    read = read_imatrix(tmp_path / "experts.gguf")
    assert read.tensors == matrix.tensors
    assert struct.unpack("<6f", read.importance()["blk.0.ffn_up_exps.weight"]) == (4, 1, 2, 1, 1, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cut off"),
        (b"GGUF", "the file ends"),
        (struct.pack("<iii", 1, 1 << 30, 0), "claims 1073741824"),
        (struct.pack("<i", 1) + struct.pack("<i", 3) + b"abc" + struct.pack("<ii", 1, 9), "cut off|claims"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "broken.dat"
    path.write_bytes(content)
    with pytest.raises(ImatrixError, match=words) as error:
        read_imatrix(path)
    assert str(path) in str(error.value)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes((DATA / "llama-imatrix.gguf").read_bytes()[:-100])
    with pytest.raises(ImatrixError, match="cut off"):
        read_imatrix(path)


@pytest.mark.engine
def test_what_is_collected_agrees_with_llama_imatrix(tmp_path: Path) -> None:
    """The same tensors from the same tokens, and the same direction of importance to 0.999 for each."""
    pytest.importorskip("llama_cpp")
    seen: list[tuple[int, int]] = []
    with Engine() as engine:
        facts = collect_imatrix(
            engine,
            smollm2(),
            CALIBRATION,
            tmp_path / "ours.gguf",
            chunks=4,
            progress=lambda done, total, _: seen.append((done, total)),
        )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (facts.tensors, facts.chunks, facts.partial) == (30 * 7, 4, ())
    ours, theirs = read_imatrix(tmp_path / "ours.gguf"), read_imatrix(DATA / "llama-imatrix.gguf")
    for name, tensor in theirs.tensors.items():
        assert ours.tensors[name].counts == tensor.counts
        assert cosine(ours.tensors[name].sums, tensor.sums) > 0.999, name


@pytest.mark.engine
def test_a_text_too_short_for_two_chunks_is_refused_with_both_numbers(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    text = tmp_path / "short.txt"
    text.write_text("Too short. " * 20)
    with Engine() as engine, pytest.raises(ImatrixError, match=r"short\.txt has \d+ tokens.* 1,024"):
        collect_imatrix(engine, smollm2(), text, tmp_path / "never.gguf")
    assert not (tmp_path / "never.gguf").exists()


@pytest.mark.engine
def test_llama_quantize_reads_what_is_written(tmp_path: Path) -> None:
    """Where llama.cpp's tools are installed: its tool takes our file and uses every entry."""
    tool = shutil.which("llama-quantize")
    if tool is None:
        pytest.skip("llama-quantize is not installed")
    write_imatrix(read_imatrix(DATA / "llama-imatrix.gguf"), tmp_path / "ours.gguf")
    command = [
        tool,
        "--allow-requantize",
        "--imatrix",
        tmp_path / "ours.gguf",
        smollm2(),
        tmp_path / "q.gguf",
        "Q4_0",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "21 importance matrix entries" in done.stdout
