"""Synthetic models: whole files with made-up weights."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path
from typing import NamedTuple

import pytest

from quantize.architecture import Architecture, Experts, tensors
from quantize.errors import InvalidModelError, NoRoomError
from quantize.gguf_header import read_header
from quantize.synthetic import sampled_types, synthetic_bytes, write_synthetic
from quantize.types import TENSOR_TYPES

MIXTURE = Architecture(
    name="qwen3moe",
    n_layer=2,
    n_embd=512,
    n_ff=512,
    n_head=8,
    n_head_kv=2,
    head_dim=64,
    n_vocab=1000,
    context_length=4096,
    moe=Experts(n_expert=8, n_expert_used=2, n_ff=256),
)
TYPES = {
    tensor.name: "Q8_0" if "embd" in tensor.name else "Q4_K"
    for tensor in tensors(MIXTURE)
    if tensor.source_type == "F16"
}
BLOCKS = {kind: os.urandom(97 * TENSOR_TYPES[kind].type_size) for kind in ("Q8_0", "Q4_K")}


def rows(path: Path, name: str) -> list[bytes]:
    """The rows of a tensor, read with the gguf package, which is not ours."""
    gguf = pytest.importorskip("gguf")
    tensor = next(tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == name)
    data = tensor.data.tobytes()
    n = len(data) // (tensor.n_elements // int(tensor.shape[0]))
    return [data[start : start + n] for start in range(0, len(data), n)]


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    path = tmp_path / "mixture.gguf"
    assert write_synthetic(MIXTURE, TYPES, path, BLOCKS) == path.stat().st_size
    return path


def test_every_tensor_has_its_shape_and_the_type_that_was_asked_for(mixture: Path) -> None:
    gguf = pytest.importorskip("gguf")
    found = {
        tensor.name: (tuple(int(n) for n in tensor.shape), tensor.tensor_type.name)
        for tensor in gguf.GGUFReader(mixture).tensors
    }
    wanted = {t.name: (t.shape, TYPES.get(t.name, t.source_type)) for t in tensors(MIXTURE)}
    assert found == wanted


def test_the_size_is_known_before_a_byte_is_written(mixture: Path) -> None:
    assert synthetic_bytes(MIXTURE, TYPES) == mixture.stat().st_size
    assert mixture.stat().st_blocks * 512 >= mixture.stat().st_size  # and there is no hole in the file


def test_every_block_is_one_of_those_that_were_given(mixture: Path) -> None:
    for kind, name in (("Q8_0", "token_embd.weight"), ("Q4_K", "blk.1.ffn_down_exps.weight")):
        size = TENSOR_TYPES[kind].type_size
        given = {BLOCKS[kind][start : start + size] for start in range(0, len(BLOCKS[kind]), size)}
        data = b"".join(rows(mixture, name))
        assert {data[start : start + size] for start in range(0, len(data), size)} <= given


def test_neighbouring_tokens_differ_and_so_do_the_rows_of_a_router(mixture: Path) -> None:
    """Otherwise every token would look alike, and always go to the same experts."""
    assert len(set(rows(mixture, "token_embd.weight"))) == 97  # as many as there are blocks
    assert len(set(rows(mixture, "blk.0.ffn_gate_inp.weight"))) == 8


def test_norms_leave_alone_what_they_act_on(mixture: Path) -> None:
    assert set(rows(mixture, "blk.0.attn_norm.weight")) == {struct.pack("<f", 1.0) * 512}


def test_blocks_are_needed_of_quantized_types_only() -> None:
    assert sampled_types(["Q4_K", "F32", "Q6_K", "BF16", "F16", "Q4_K"]) == ("Q4_K", "Q6_K")


def test_unquantized_weights_are_small_and_random(tmp_path: Path) -> None:
    path = tmp_path / "f16.gguf"
    write_synthetic(MIXTURE, {}, path, {})
    row = struct.unpack("<512e", rows(path, "blk.0.attn_q.weight")[5])
    assert len(set(row)) > 400
    assert 0.01 < max(row) < 0.2


def test_a_type_whose_blocks_do_not_fit_a_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="Q4_K"):
        write_synthetic(
            MIXTURE, {"blk.0.ffn_norm.weight": "Q4_K", "blk.0.attn_q_norm.weight": "Q4_K"}, tmp_path / "a", {}
        )
    assert not list(tmp_path.iterdir())


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_full_disk_is_found_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 1000))
    with pytest.raises(NoRoomError, match="GB free"):
        write_synthetic(MIXTURE, TYPES, tmp_path / "model.gguf", BLOCKS)
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    """A limit on the size of files fails a write the way a full disk does."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(NoRoomError, match="no room"):
            write_synthetic(MIXTURE, TYPES, tmp_path / "model.gguf", BLOCKS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_our_own_reader_knows_the_architecture_again(mixture: Path) -> None:
    assert read_header(mixture).metadata["general.architecture"] == "qwen3moe"
