"""Skeletons: real headers over a hole."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantize.architecture import Architecture, gguf_metadata, tensors
from quantize.gguf_writer import ALIGNMENT
from quantize.skeleton import header_bytes, write_skeleton

LLAMA_8B = Architecture(
    name="llama",
    n_layer=32,
    n_embd=4096,
    n_ff=14336,
    n_head=32,
    n_head_kv=8,
    head_dim=128,
    n_vocab=128256,
    context_length=131072,
    optional=("rope_freqs",),
)


def test_a_model_of_16_gigabytes_takes_kilobytes_of_disk(tmp_path: Path) -> None:
    path = tmp_path / "skeleton.gguf"
    size = write_skeleton(LLAMA_8B, path)
    assert path.stat().st_size == size > 16_000_000_000
    assert path.stat().st_blocks * 512 < 100_000


def test_another_reader_finds_the_tensors_and_the_metadata(tmp_path: Path) -> None:
    """The gguf package, which is not ours, reads what we wrote."""
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "skeleton.gguf"
    write_skeleton(LLAMA_8B, path)
    reader = gguf.GGUFReader(path)
    found = {
        tensor.name: (tuple(int(n) for n in tensor.shape), tensor.tensor_type.name)
        for tensor in reader.tensors
    }
    assert found == {info.name: (info.shape, info.source_type) for info in tensors(LLAMA_8B)}
    for key, value in gguf_metadata(LLAMA_8B).items():
        contents = reader.fields[key].contents()
        assert contents == pytest.approx(value) if isinstance(value, float) else contents == value


def test_tensor_data_starts_on_the_alignment() -> None:
    assert header_bytes(LLAMA_8B) % ALIGNMENT == 0


def test_writing_twice_replaces_the_first(tmp_path: Path) -> None:
    path = tmp_path / "skeleton.gguf"
    path.write_bytes(b"something else" * 10_000)
    size = write_skeleton(LLAMA_8B, path)
    assert path.stat().st_size == size
    with path.open("rb") as file:
        assert file.read(4) == b"GGUF"
