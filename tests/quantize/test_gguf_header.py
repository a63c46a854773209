"""Headers of GGUF files, also of those that lie."""

from __future__ import annotations

import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantize.architecture import Architecture, from_gguf_metadata, parameter_count, tensors
from quantize.errors import InvalidModelError
from quantize.gguf_header import Header, Skipped, read_header
from quantize.skeleton import write_skeleton

U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10
TINY = Architecture(
    name="llama",
    n_layer=1,
    n_embd=64,
    n_ff=128,
    n_head=2,
    n_head_kv=1,
    head_dim=32,
    n_vocab=100,
    context_length=128,
)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def string_array(*values: str) -> bytes:
    return struct.pack("<IQ", STRING, len(values)) + b"".join(map(text, values))


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dimensions + struct.pack("<IQ", kind, offset)


NAMED = key("general.architecture", STRING, text("llama"))


def gguf(
    *keys: bytes,
    infos: tuple[bytes, ...] = (),
    data: int = 0,
    version: int = 3,
    n_keys: int | None = None,
    n_tensors: int | None = None,
) -> bytes:
    """A GGUF of these keys and tensors, padded, with `data` bytes of tensor data; counts may lie."""
    counts = (
        len(infos) if n_tensors is None else n_tensors,
        len(keys) if n_keys is None else n_keys,
    )
    header = struct.pack("<4sIQQ", b"GGUF", version, *counts) + b"".join(keys) + b"".join(infos)
    return header + bytes(-len(header) % 32) + bytes(data)


def read(folder: Path, content: bytes) -> Header:
    path = folder / "model.gguf"
    path.write_bytes(content)
    return read_header(path)


def test_a_skeleton_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    size = write_skeleton(TINY, path)
    header = read_header(path)
    assert (header.version, header.architecture, header.file_bytes) == (3, "llama", size)
    assert [(info.name, info.shape, info.type) for info in header.tensors] == [
        (info.name, info.shape, info.source_type) for info in tensors(TINY)
    ]
    assert header.metadata["llama.block_count"] == 1
    assert header.tensors[0].offset == header.data_offset
    assert header.tensor_bytes <= size - header.data_offset


def test_values_are_read_as_the_gguf_package_wrote_them(tmp_path: Path) -> None:
    package = pytest.importorskip("gguf")
    np = pytest.importorskip("numpy")
    path = tmp_path / "model.gguf"
    writer = package.GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 7)
    writer.add_float32("llama.rope.freq_base", 500000.0)
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    writer.add_string("general.name", "Grüße, モデル")
    writer.add_array("llama.attention.head_count_kv", [0, 0, 8])
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "c"])
    writer.add_int64("general.negative", -(1 << 40))
    writer.add_tensor("token_embd.weight", np.zeros((3, 32), dtype=np.float16))
    writer.add_tensor("output_norm.weight", np.zeros(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = read_header(path)
    assert header.metadata == {
        "general.architecture": "llama",
        "llama.block_count": 7,
        "llama.rope.freq_base": 500000.0,
        "tokenizer.ggml.add_bos_token": False,
        "general.name": "Grüße, モデル",
        "llama.attention.head_count_kv": (0, 0, 8),
        "tokenizer.ggml.tokens": Skipped("string array", 3),
        "general.negative": -(1 << 40),
    }
    assert header.shapes == {"token_embd.weight": (32, 3), "output_norm.weight": (32,)}
    assert header.tensor_bytes == 3 * 32 * 2 + 32 * 4


def test_a_published_model_is_recognized(smollm2: Path) -> None:
    header = read_header(smollm2)
    assert header.metadata["tokenizer.ggml.tokens"] == Skipped("string array", 49152)
    assert {info.type for info in header.tensors} == {"F32", "Q4_1", "Q8_0"}
    assert parameter_count(from_gguf_metadata(header.metadata, header.shapes)) == 134_515_008


def test_a_long_vocabulary_is_skipped_and_not_held(tmp_path: Path) -> None:
    words = struct.pack("<IQ", STRING, 200_000) + b"".join(text(f"word-{i:090d}") for i in range(200_000))
    content = gguf(NAMED, key("tokenizer.ggml.tokens", ARRAY, words))
    assert len(content) > 20_000_000
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    header = read_header(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert header.metadata["tokenizer.ggml.tokens"] == Skipped("string array", 200_000)
    assert peak < 2_000_000


def test_a_very_long_string_is_skipped(tmp_path: Path) -> None:
    content = gguf(key("tokenizer.huggingface.json", STRING, text("x" * 2_000_000)), NAMED)
    assert read(tmp_path, content).metadata["tokenizer.huggingface.json"] == Skipped("string", 2_000_000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"ggjt\1\0\0\0" + bytes(100), "an old GGML file"),
        (struct.pack(">4sIQQ", b"GGUF", 3, 0, 0), "it is big-endian"),
        (gguf(NAMED, version=1), "GGUF version 1 is not supported"),
        (gguf(NAMED, version=99), "GGUF version 99 is not supported"),
        (gguf(NAMED, n_keys=1 << 62), "claims 4611686018427387904 metadata keys"),
        (gguf(NAMED, n_tensors=1 << 40), "claims 1099511627776 tensors"),
        (gguf(NAMED, n_keys=2), "the file ends in|a metadata key"),
        (gguf(), "does not name its architecture"),
        (gguf(key("general.architecture", U32, bytes(4))), "does not name its architecture"),
        (gguf(NAMED, NAMED), "the key 'general.architecture' is there twice"),
        (gguf(key("a", STRING, struct.pack("<Q", 1 << 63)), NAMED), "'a' claims 9223372036854775808 bytes"),
        (gguf(key("a", 77, b""), NAMED), "'a' has the unknown type 77"),
        (gguf(key("a", ARRAY, struct.pack("<IQ", ARRAY, 1)), NAMED), "'a' is an array of arrays"),
        (gguf(key("a", ARRAY, struct.pack("<IQ", 55, 1)), NAMED), "array of the unknown type 55"),
        (gguf(key("a", ARRAY, struct.pack("<IQ", F32, 1 << 61)), NAMED), "claims 2305843009213693952 items"),
        (gguf(key("a", ARRAY, struct.pack("<IQ", STRING, 1 << 40)), NAMED), "claims 1099511627776 strings"),
        (gguf(key("a", ARRAY, struct.pack("<IQQ", STRING, 1, 1 << 50)), NAMED), "longer than the rest"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + key("a", U32, b"\0"), "the file ends in 'a'"),
        (gguf(struct.pack("<Q", 2) + b"\xff\xfe" + bytes(40), n_keys=1), "a metadata key is not UTF-8"),
        (gguf(NAMED, key("general.alignment", U32, struct.pack("<I", 24))), "alignment is 24"),
        (gguf(NAMED, key("general.alignment", STRING, text("32"))), "alignment is '32'"),
        (gguf(NAMED, infos=(tensor("t", ()),)), "tensor 't' has 0 dimensions"),
        (gguf(NAMED, infos=(tensor("t", (1, 1, 1, 1, 1)),)), "tensor 't' has 5 dimensions"),
        (gguf(NAMED, infos=(tensor("t", (0, 4)),)), "the impossible shape"),
        (gguf(NAMED, infos=(tensor("t", ((1 << 64) - 4,)),)), "the impossible shape"),
        (gguf(NAMED, infos=(tensor("t", (1 << 40, 1 << 40)),)), "the impossible shape"),
        (gguf(NAMED, infos=(tensor("t", (32,), kind=4),)), "tensor 't' has the unknown type 4"),
        (gguf(NAMED, infos=(tensor("t", (33,), kind=12),)), "33 weights cannot be Q4_K"),
        (gguf(NAMED, infos=(tensor("t", (8,)),), data=31), "the file is cut off"),
        (gguf(NAMED, infos=(tensor("t", (8,), offset=32),), data=64), "is at offset 32 and should be at 0"),
        (gguf(NAMED, infos=(tensor("t", (8,), offset=1 << 63),), data=64), "should be at 0"),
        (gguf(NAMED, infos=(tensor("t", (8,)), tensor("t", (8,), offset=32)), data=64), "'t' is there twice"),
        (gguf(NAMED, infos=(tensor("n" * 64, (8,)),), data=32), "a tensor's name has 64 bytes"),
        (gguf(NAMED, infos=(tensor("", (8,)),), data=32), "a tensor's name has 0 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_lies_is_refused_and_says_where(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InvalidModelError, match=message) as caught:
        read(tmp_path, content)
    assert "model.gguf" in str(caught.value)


def test_what_cannot_be_opened_is_an_invalid_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="cannot be read: No such file"):
        read_header(tmp_path / "missing.gguf")
    with pytest.raises(InvalidModelError, match="cannot be read: Is a directory"):
        read_header(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small file with everything in it: numbers, strings, arrays, tensors."""
    path = tmp_path_factory.mktemp("whole") / "model.gguf"
    write_skeleton(TINY, path)
    skeleton = read_header(path)
    infos = []
    for info in skeleton.tensors:
        kind = 0 if info.type == "F32" else 1
        infos.append(tensor(info.name, info.shape, kind, info.offset - skeleton.data_offset))
    keys = (
        NAMED,
        key("llama.block_count", U32, struct.pack("<I", 1)),
        key("general.name", STRING, text("tiny")),
        key("tokenizer.ggml.tokens", ARRAY, string_array("a", "bc", "")),
        key("tokenizer.ggml.scores", ARRAY, struct.pack("<IQ3f", F32, 3, 1, 2, 3)),
        key("tokenizer.ggml.add_bos_token", BOOL, b"\1"),
    )
    return gguf(*keys, infos=tuple(infos), data=skeleton.file_bytes - skeleton.data_offset)


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, whole: bytes) -> None:
    header = read(tmp_path, whole)
    for length in [*range(header.data_offset), header.data_offset + 1, len(whole) - 64]:
        with pytest.raises(InvalidModelError):
            read(tmp_path, whole[:length])


ANY_FILE = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ANY_FILE
@given(st.data())
def test_a_damaged_header_is_read_or_refused_and_nothing_else(
    tmp_path: Path, whole: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 1500))
        new = data.draw(st.binary(min_size=1, max_size=8) | st.just(b"\xff" * 8) | st.just(bytes(8)))
        damaged[at : at + len(new)] = new
    with suppress(InvalidModelError):
        header = read(tmp_path, bytes(damaged))
        assert header.tensor_bytes <= len(damaged)


@ANY_FILE
@given(st.binary(max_size=400))
def test_noise_after_the_magic_is_read_or_refused(tmp_path: Path, noise: bytes) -> None:
    with suppress(InvalidModelError):
        read(tmp_path, b"GGUF\3\0\0\0" + noise)
