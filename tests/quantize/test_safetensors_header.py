"""Headers of safetensors files, whole ones and such as a stranger may send."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantize.errors import InvalidModelError
from quantize.safetensors_header import INDEX, read_tensors, read_weights
from tests.quantize.safetensors import header, write

TWO = {"a.weight": ("BF16", (4, 8)), "b.bias": ("F32", (3,))}


def test_weights_are_counted_without_being_read(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", header(TWO))
    weights = read_weights(tmp_path)
    assert (weights.parameters, weights.bytes, weights.dtype) == (35, 76, "BF16")
    assert [(tensor.name, tensor.shape) for tensor in weights.tensors] == [
        ("a.weight", (4, 8)),
        ("b.bias", (3,)),
    ]


def test_a_scalar_and_a_tensor_without_elements_have_their_place(tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", header({"s": ("F32", ()), "e": ("F32", (0, 7))}))
    assert [(tensor.name, tensor.bytes) for tensor in read_tensors(path)] == [("s", 4), ("e", 0)]


def shards(folder: Path, weight_map: dict[str, str] | None = None) -> None:
    write(folder / "model-00001-of-00002.safetensors", header({"a.weight": TWO["a.weight"]}))
    write(folder / "model-00002-of-00002.safetensors", header({"b.bias": TWO["b.bias"]}))
    usual = {"a.weight": "model-00001-of-00002.safetensors", "b.bias": "model-00002-of-00002.safetensors"}
    folder.joinpath(INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map or usual}))


def test_the_index_names_the_files(tmp_path: Path) -> None:
    shards(tmp_path)
    write(tmp_path / "model-of-somebody-else.safetensors", header({"c": ("F32", (2,))}))
    weights = read_weights(tmp_path)
    assert [file.name[:11] for file in weights.files] == ["model-00001", "model-00002"]
    assert weights.parameters == 35


def test_a_shard_that_was_not_downloaded_is_named(tmp_path: Path) -> None:
    shards(tmp_path)
    tmp_path.joinpath("model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        InvalidModelError, match=r"model-00002-of-00002\.safetensors is missing, and .* names it"
    ):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a.weight": "../../etc/passwd"}, "names the file '../../etc/passwd'"),
        ({"a.weight": "model.bin"}, "names the file 'model.bin'"),
        (
            {"a.weight": "model-00001-of-00002.safetensors", "lost": "model-00001-of-00002.safetensors"},
            r"1 tensors that .* names are in no file, first 'lost'",
        ),
        ({"b.bias": "model-00001-of-00002.safetensors"}, r"does not place tensor 'a\.weight' there"),
    ],
)
def test_an_index_that_says_otherwise_is_refused(
    weight_map: dict[str, str], message: str, tmp_path: Path
) -> None:
    shards(tmp_path, weight_map)
    with pytest.raises(InvalidModelError, match=message):
        read_weights(tmp_path)


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "model-a.safetensors", header(TWO))
    write(tmp_path / "model-b.safetensors", header(TWO))
    with pytest.raises(
        InvalidModelError, match=r"model-b\.safetensors: tensor 'a\.weight' is in another file too"
    ):
        read_weights(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="holds no weights"):
        read_weights(tmp_path)
    write(tmp_path / "model.safetensors", {})
    with pytest.raises(InvalidModelError, match="hold no tensor"):
        read_weights(tmp_path)


@pytest.mark.parametrize("missing", [1, 76, 80, 400])
def test_a_cut_off_download_is_refused(missing: int, tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", header(TWO))
    os.truncate(path, max(path.stat().st_size - missing, 0))
    with pytest.raises(InvalidModelError, match=r"cut off|no safetensors file"):
        read_tensors(path)


def entry(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]} | changes}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (entry(dtype="F31"), "unknown type 'F31'"),
        (entry(shape=[-1, 3]), "impossible shape"),
        (entry(shape=[1 << 60, 3]), "impossible shape"),
        (entry(shape=[1] * 9), "impossible shape"),
        (entry(shape=[2, 4]), "is at bytes 0 to 24 and should be at 0 to 32"),
        (entry(data_offsets=[8, 32]), "is at bytes 8 to 32 and should be at 0 to 24"),
        (entry(data_offsets=[24, 0]), "damaged"),
        (entry(data_offsets=[0]), "not valid"),
        (entry(shape="2x3"), "not valid"),
        (entry() | {"b": {"dtype": "F32", "shape": [1], "data_offsets": [20, 24]}}, "should be at 24 to 28"),
        ({"a": 1}, "not valid"),
    ],
)
def test_a_header_that_lies_is_refused(entries: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    content = json.dumps(entries).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + bytes(24))
    with pytest.raises(InvalidModelError, match=message):
        read_tensors(path)


def test_bytes_that_belong_to_no_tensor_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", header(TWO))
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(InvalidModelError, match="4 bytes belong to no tensor"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no safetensors file: it has 0 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>You must sign in</html>", "a web page"),
        ((1 << 62).to_bytes(8, "little") + b"{}", "claims a header of"),
        ((100).to_bytes(8, "little") + b"[" * 100, "not valid"),
        ((4).to_bytes(8, "little") + b"\xff\xff\xff\xff", "not valid"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(InvalidModelError, match=message):
        read_tensors(path)


@given(at=st.integers(0, 300), byte=st.integers(0, 255))
def test_no_changed_byte_does_more_than_be_refused(
    at: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    write(path, header(TWO))
    content = bytearray(path.read_bytes())
    content[at % len(content)] = byte
    path.write_bytes(content)
    try:
        tensors = read_tensors(path)
    except InvalidModelError:
        return
    assert sum(tensor.bytes for tensor in tensors) == 76
