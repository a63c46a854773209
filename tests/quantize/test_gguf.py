"""Quantizing with the engine: what comes out, what is refused, and that nothing half-written stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from profiles.engine.client import Engine
from profiles.engine.protocol import ImatrixTensor
from profiles.errors import EngineError
from profiles.throughput import require
from quantize.architecture import Architecture, tensors
from quantize.errors import InvalidModelError, QuantizationError, UnexpectedTensorsError
from quantize.gguf import (
    ExpectedTensor,
    Recipe,
    check_tensors,
    make_recipe,
    planned_types,
    quantize_gguf,
)
from quantize.gguf_header import read_header
from quantize.hashes import sha256_of
from quantize.imatrix import Imatrix
from quantize.synthetic import SAMPLE_BLOCKS, sampled_types, write_synthetic
from quantize.types import PRESETS

pytestmark = pytest.mark.engine

TINY = Architecture(
    name="llama",
    n_layer=2,
    n_embd=256,
    n_ff=512,
    n_head=4,
    n_head_kv=2,
    head_dim=64,
    n_vocab=640,
    context_length=2048,
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    pytest.importorskip("llama_cpp")
    with Engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model at F16 with random weights."""
    path = tmp_path_factory.mktemp("full") / "tiny-f16.gguf"
    write_synthetic(TINY, {}, path, {})
    return path


def flat_imatrix() -> Imatrix:
    """An importance matrix in which every column counts alike."""
    import struct

    return Imatrix(
        tensors={
            tensor.name: ImatrixTensor(struct.pack(f"<{tensor.shape[0]}f", *[1.0] * tensor.shape[0]), (1,))
            for tensor in tensors(TINY)
            if tensor.name.startswith("blk.") and len(tensor.shape) == 2
        },
        datasets=("校正.txt",),
        chunks=3,
        chunk_tokens=512,
    )


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_gives_the_tensors_that_its_dry_run_says(
    engine: Engine, full: Path, tmp_path: Path, preset: str
) -> None:
    if PRESETS[preset].experts_only:
        pytest.skip("made for mixtures of experts")
    recipe = Recipe(preset=preset)
    matrix = flat_imatrix() if PRESETS[preset].needs_imatrix else None
    out = tmp_path / "out.gguf"
    quantize_gguf(engine, full, out, recipe, imatrix=matrix)
    types = planned_types(engine, full, recipe, imatrix=matrix is not None)
    expected = {tensor.name: ExpectedTensor(tensor.shape, types[tensor.name]) for tensor in tensors(TINY)}
    check_tensors([out], expected)
    assert read_header(out).tensor_bytes == sum(tensor.bytes for tensor in expected.values())


def test_types_of_ones_own_are_obeyed(engine: Engine, full: Path, tmp_path: Path) -> None:
    """The first pattern that matches counts, as llama-quantize has it; head and embedding have options of their own."""
    recipe = make_recipe(
        "Q4_K_M",
        output_type="q8_0",
        embedding_type="Q5_K",
        overrides=(r"blk\.0\.ffn_down=q6_K", "ffn_down=Q3_K", "attn_v=f16"),
    )
    out = tmp_path / "out.gguf"
    quantize_gguf(engine, full, out, recipe)
    types = {tensor.name: tensor.type for tensor in read_header(out).tensors}
    assert types["output.weight"] == "Q8_0"
    assert types["token_embd.weight"] == "Q5_K"
    assert types["blk.0.ffn_down.weight"] == "Q6_K"
    assert types["blk.1.ffn_down.weight"] == "Q3_K"
    assert types["blk.1.attn_v.weight"] == "F16"
    assert types["blk.1.attn_q.weight"] == "Q4_K"
    assert types == planned_types(engine, full, recipe, imatrix=False)


def test_the_same_inputs_make_the_same_file_in_every_folder(
    engine: Engine, full: Path, tmp_path: Path
) -> None:
    """Also with one thread and with two, and the file says which importance matrix it was made with."""
    digests = set()
    for number, threads in enumerate((1, 2, None)):
        out = tmp_path / str(number) / "out.gguf"
        out.parent.mkdir()
        quantize_gguf(engine, full, out, Recipe(preset="IQ2_M"), imatrix=flat_imatrix(), threads=threads)
        digests.add(sha256_of(out))
    assert len(digests) == 1
    metadata = read_header(out).metadata
    assert metadata["quantize.imatrix.file"] == "imatrix.gguf"
    assert metadata["quantize.imatrix.dataset"] == "校正.txt"
    assert metadata["quantize.imatrix.chunks_count"] == 3
    assert metadata["quantize.imatrix.entries_count"] == 14


def test_an_importance_matrix_changes_what_is_kept(engine: Engine, full: Path, tmp_path: Path) -> None:
    plain, weighed = tmp_path / "plain.gguf", tmp_path / "weighed.gguf"
    quantize_gguf(engine, full, plain, Recipe(preset="Q4_K_M"))
    quantize_gguf(engine, full, weighed, Recipe(preset="Q4_K_M"), imatrix=flat_imatrix())
    one, other = read_header(plain), read_header(weighed)
    assert one.tensor_bytes == other.tensor_bytes
    with plain.open("rb") as a, weighed.open("rb") as b:
        a.seek(one.data_offset)
        b.seek(other.data_offset)
        assert a.read() != b.read()


def test_progress_tells_the_bytes_written(engine: Engine, tmp_path: Path) -> None:
    arch = Architecture(
        name="llama",
        n_layer=8,
        n_embd=1024,
        n_ff=4096,
        n_head=8,
        n_head_kv=8,
        head_dim=128,
        n_vocab=1024,
        context_length=2048,
    )
    source = tmp_path / "source.gguf"
    write_synthetic(arch, {}, source, {})
    told: list[int] = []
    out = tmp_path / "out.gguf"
    quantize_gguf(engine, source, out, Recipe(preset="Q3_K_M"), progress=lambda done, _: told.append(done))
    assert told
    assert told == sorted(told)
    assert 0 < told[-1] <= out.stat().st_size


def test_what_the_engine_refuses_is_an_error_and_leaves_nothing(
    engine: Engine, full: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.gguf"
    with pytest.raises(QuantizationError, match="needs an importance matrix"):
        quantize_gguf(engine, full, out, Recipe(preset="IQ1_S"))
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(full.read_bytes()[:-1000])
    with pytest.raises(QuantizationError, match="cannot quantize"):
        quantize_gguf(engine, cut, out, Recipe(preset="Q4_K_M"))
    with pytest.raises(QuantizationError):
        quantize_gguf(engine, full, tmp_path / "no-such" / "out.gguf", Recipe(preset="Q4_K_M"))
    assert not out.exists()
    wrong = Imatrix(
        tensors={"blk.0.attn_q.weight": ImatrixTensor(bytes(8), (1,))},
        datasets=("x",),
        chunks=1,
        chunk_tokens=512,
    )
    with pytest.raises((QuantizationError, EngineError)):
        quantize_gguf(engine, full, out, Recipe(preset="Q4_K_M"), imatrix=wrong)
    assert not out.exists()


def test_weights_that_are_no_numbers_are_refused(engine: Engine, full: Path, tmp_path: Path) -> None:
    """NaN in the source: the engine checks what it reads."""
    broken = tmp_path / "nan.gguf"
    data = bytearray(full.read_bytes())
    info = next(t for t in read_header(full).tensors if t.name == "blk.0.attn_q.weight")
    data[info.offset : info.offset + 2] = b"\xff\x7f"
    broken.write_bytes(data)
    out = tmp_path / "out.gguf"
    with pytest.raises(QuantizationError):
        quantize_gguf(engine, broken, out, Recipe(preset="Q4_K_M"))
    assert not out.exists()


def test_an_engine_that_is_ended_leaves_no_file(full: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    arch = Architecture(
        name="llama",
        n_layer=8,
        n_embd=2048,
        n_ff=8192,
        n_head=16,
        n_head_kv=16,
        head_dim=128,
        n_vocab=1024,
        context_length=2048,
    )
    source = tmp_path / "source.gguf"
    write_synthetic(arch, {}, source, {})
    with Engine() as engine:
        require(engine.version())

        def kill(done: int, _: float) -> None:
            if done:
                engine.close()

        with pytest.raises(EngineError):
            quantize_gguf(engine, source, out, Recipe(preset="Q3_K_M"), progress=kill)
    assert not out.exists()
    assert threading.active_count() < 10


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("ffn_down",), "no override"),
        (("=Q6_K",), "no override"),
        (("ffn_down=Q9_Z",), "no tensor type"),
        (("ffn_(down=Q6_K",), "no regular expression"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_in_words(overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(QuantizationError, match=words):
        make_recipe("Q4_K_M", overrides=overrides)


def test_a_file_with_other_tensors_is_named_by_what_differs(full: Path, tmp_path: Path) -> None:
    expected = {tensor.name: ExpectedTensor(tensor.shape, "Q4_K") for tensor in tensors(TINY)}
    with pytest.raises(UnexpectedTensorsError, match=r"has type F16, not Q4_K.*…"):
        check_tensors([full], expected)
    check_tensors([full], expected, types=False)
    more = {**expected, "blk.2.attn_q.weight": ExpectedTensor((256, 256), "F16")}
    with pytest.raises(UnexpectedTensorsError, match=r"blk\.2\.attn_q\.weight is missing"):
        check_tensors([full], more, types=False)
    fewer = {name: tensor for name, tensor in expected.items() if name != "output.weight"}
    with pytest.raises(UnexpectedTensorsError, match=r"output\.weight is one too many"):
        check_tensors([full], fewer, types=False)
    expected["output.weight"] = ExpectedTensor((256, 641), "F16")
    with pytest.raises(UnexpectedTensorsError, match="has shape 256 x 640, not 256 x 641"):
        check_tensors([full], expected, types=False)
    with pytest.raises(InvalidModelError):
        check_tensors([tmp_path / "no-such.gguf"], expected)


def test_blocks_tell_what_packing_them_took(engine: Engine) -> None:
    """A preflight reckons with it: a type that is searched for takes longer than one that is rounded."""
    types = sampled_types(["Q8_0", "Q3_K"])
    found = require(engine.sample_blocks(types, SAMPLE_BLOCKS))
    per_weight = {kind: found.seconds[kind] / (8 if kind == "Q3_K" else 1) for kind in types}
    assert 0 < per_weight["Q8_0"] < per_weight["Q3_K"]
