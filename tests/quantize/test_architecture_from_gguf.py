"""Architectures from the metadata and tensors of GGUF files."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from quantize.architecture import (
    Architecture,
    Experts,
    LatentAttention,
    SlidingWindow,
    from_gguf_metadata,
    gguf_metadata,
    layers,
    tensors,
)
from quantize.errors import InvalidModelError, UnknownArchitectureError
from quantize.gguf_header import read_header
from quantize.skeleton import write_skeleton

GEMMA_3_270M = Architecture(
    name="gemma3",
    n_layer=18,
    n_embd=640,
    n_ff=2048,
    n_head=4,
    n_head_kv=1,
    head_dim=256,
    n_vocab=262144,
    context_length=32768,
    tied=True,
    pattern="sssssa",
    window=SlidingWindow(size=512),
)
# As the file that ggml-org publishes has them: no pattern, no rotary dimension.
GEMMA_3_270M_METADATA: dict[str, object] = {
    "general.architecture": "gemma3",
    "gemma3.context_length": 32768,
    "gemma3.embedding_length": 640,
    "gemma3.block_count": 18,
    "gemma3.feed_forward_length": 2048,
    "gemma3.attention.head_count": 4,
    "gemma3.attention.key_length": 256,
    "gemma3.attention.value_length": 256,
    "gemma3.attention.sliding_window": 512,
    "gemma3.attention.head_count_kv": 1,
}


def shapes(arch: Architecture) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for tensor in tensors(arch)}


def test_keys_that_a_file_leaves_out_have_the_engine_s_defaults() -> None:
    assert from_gguf_metadata(GEMMA_3_270M_METADATA, shapes(GEMMA_3_270M)) == GEMMA_3_270M


def test_a_window_that_the_engine_does_not_apply_is_none() -> None:
    """Phi-3 files give a sliding window; llama.cpp switches it off."""
    arch = Architecture(
        name="phi3",
        n_layer=2,
        n_embd=96,
        n_ff=256,
        n_head=2,
        n_head_kv=2,
        head_dim=48,
        n_vocab=1000,
        context_length=4096,
    )
    metadata = gguf_metadata(arch) | {"phi3.attention.sliding_window": 2047}
    assert from_gguf_metadata(metadata, shapes(arch)) == arch


@pytest.mark.parametrize("key", ["block_count", "embedding_length", "attention.head_count", "context_length"])
def test_a_missing_key_is_named(key: str) -> None:
    metadata = {name: value for name, value in GEMMA_3_270M_METADATA.items() if name != f"gemma3.{key}"}
    with pytest.raises(InvalidModelError, match=f"lacks gemma3.{key}"):
        from_gguf_metadata(metadata, shapes(GEMMA_3_270M))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_count", -1),
        ("block_count", 10**12),
        ("block_count", "eighteen"),
        ("attention.head_count", 0),
        ("attention.head_count", [4, 4]),
        ("embedding_length", 6.4),
    ],
)
def test_nonsense_is_refused_by_its_key(key: str, value: object) -> None:
    metadata = GEMMA_3_270M_METADATA | {f"gemma3.{key}": value}
    with pytest.raises(InvalidModelError, match=f"gemma3.{key}"):
        from_gguf_metadata(metadata, shapes(GEMMA_3_270M))


def test_metadata_that_does_not_fit_the_tensors_is_refused() -> None:
    """The file itself is the proof; a first difference is named."""
    with pytest.raises(
        UnknownArchitectureError, match=r"blk\.0\.ffn_down\.weight has the shape \(2048, 640\)"
    ):
        from_gguf_metadata(GEMMA_3_270M_METADATA | {"gemma3.feed_forward_length": 4096}, shapes(GEMMA_3_270M))
    extra = shapes(GEMMA_3_270M) | {"blk.3.new_idea.weight": (640, 640)}
    with pytest.raises(UnknownArchitectureError, match=r"the unknown tensor blk\.3\.new_idea\.weight"):
        from_gguf_metadata(GEMMA_3_270M_METADATA, extra)
    cut = {name: shape for name, shape in shapes(GEMMA_3_270M).items() if not name.startswith("blk.17.")}
    with pytest.raises(UnknownArchitectureError, match=r"lacks the tensor blk\.17\."):
        from_gguf_metadata(GEMMA_3_270M_METADATA, cut)


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownArchitectureError, match="'rwkv7' are not known; known: afmoe"):
        from_gguf_metadata({"general.architecture": "rwkv7"}, {})


def test_blocks_of_different_width_are_refused() -> None:
    metadata = GEMMA_3_270M_METADATA | {"gemma3.feed_forward_length": [2048] * 17 + [4096]}
    with pytest.raises(UnknownArchitectureError, match="blocks of one kind differ"):
        from_gguf_metadata(metadata, shapes(GEMMA_3_270M))


def test_experts_are_found_through_a_file(tmp_path: Path) -> None:
    arch = Architecture(
        name="qwen2moe",
        n_layer=3,
        n_embd=256,
        n_ff=512,
        n_head=4,
        n_head_kv=4,
        head_dim=64,
        n_vocab=1000,
        context_length=2048,
        moe=Experts(n_expert=8, n_expert_used=2, n_ff=128, n_ff_shared=384),
    )
    path = tmp_path / "model.gguf"
    write_skeleton(arch, path)
    header = read_header(path)
    assert from_gguf_metadata(header.metadata, header.shapes) == arch


def test_a_mixture_without_shared_experts_is_recognized() -> None:
    arch = Architecture(
        name="qwen3moe",
        n_layer=2,
        n_embd=256,
        n_ff=512,
        n_head=4,
        n_head_kv=2,
        head_dim=64,
        n_vocab=1000,
        context_length=2048,
        moe=Experts(n_expert=8, n_expert_used=2, n_ff=128),
    )
    found = from_gguf_metadata(gguf_metadata(arch), shapes(arch))
    assert (tensors(found), layers(found)) == (tensors(arch), layers(arch))


def test_blocks_for_prediction_may_come_in_any_form() -> None:
    """They do not run, so a file is not refused over them."""
    metadata = GEMMA_3_270M_METADATA | {"gemma3.nextn_predict_layers": 1}
    trained = shapes(msgspec.structs.replace(GEMMA_3_270M, n_layer=17))
    found = from_gguf_metadata(metadata, trained | {"blk.17.anything.weight": (3,)})
    assert (found.n_layer, found.n_layer_nextn) == (17, 1)


def test_the_value_size_of_minicpm3_is_the_engine_s_where_the_converter_left_it_out() -> None:
    arch = Architecture(
        name="minicpm3",
        n_layer=2,
        n_embd=256,
        n_ff=512,
        n_head=4,
        n_head_kv=4,
        head_dim=96,
        head_dim_v=64,
        n_vocab=1000,
        context_length=2048,
        n_rot=32,
        mla=LatentAttention(kv_rank=256, rope_dim=32, nope_dim=64, value_dim=64, q_rank=768),
    )
    metadata = gguf_metadata(arch)
    del metadata["minicpm3.attention.value_length"]
    assert from_gguf_metadata(metadata, shapes(arch)) == from_gguf_metadata(gguf_metadata(arch), shapes(arch))
