"""Architectures: dimensions, tensors, layers. That the numbers of real models come out is in tests/advisor."""

from __future__ import annotations

import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantize.architecture import (
    Architecture,
    Experts,
    LatentAttention,
    SlidingWindow,
    StateSpace,
    active_parameter_count,
    gguf_metadata,
    layers,
    parameter_count,
    tensors,
)
from quantize.architectures.dimensions import shortest_pattern
from quantize.errors import InvalidModelError, UnknownArchitectureError

LLAMA_1B = Architecture(
    name="llama",
    n_layer=16,
    n_embd=2048,
    n_ff=8192,
    n_head=32,
    n_head_kv=8,
    head_dim=64,
    n_vocab=128256,
    context_length=131072,
    tied=True,
    optional=("rope_freqs",),
)
GEMMA_3_1B = Architecture(
    name="gemma3",
    n_layer=26,
    n_embd=1152,
    n_ff=6912,
    n_head=4,
    n_head_kv=1,
    head_dim=256,
    n_vocab=262144,
    context_length=32768,
    tied=True,
    pattern="sssssa",
    window=SlidingWindow(size=512),
)
QWEN3_30B = Architecture(
    name="qwen3moe",
    n_layer=48,
    n_embd=2048,
    n_ff=6144,
    n_head=32,
    n_head_kv=4,
    head_dim=128,
    n_vocab=151936,
    context_length=40960,
    moe=Experts(n_expert=128, n_expert_used=8, n_ff=768),
)
LFM2_350M = Architecture(
    name="lfm2",
    n_layer=16,
    n_embd=1024,
    n_ff=4608,
    n_head=16,
    n_head_kv=8,
    head_dim=64,
    n_vocab=65536,
    context_length=128000,
    tied=True,
    pattern="ccaccaccacacacac",
    conv_kernel=3,
)
QWEN35_4B = Architecture(
    name="qwen35",
    n_layer=32,
    n_embd=2560,
    n_ff=9216,
    n_head=16,
    n_head_kv=4,
    head_dim=256,
    n_vocab=248320,
    context_length=262144,
    tied=True,
    pattern="ddda",
    n_rot=64,
    ssm=StateSpace(inner=4096, state=128, n_head=32, n_group=16),
)


def changed(arch: Architecture, **fields: object) -> Architecture:
    return msgspec.structs.replace(arch, **fields)


@pytest.mark.parametrize(
    ("arch", "published"),
    [
        (LLAMA_1B, 1_235_814_400),
        (GEMMA_3_1B, 999_885_952),
        (QWEN3_30B, 30_532_122_624),
        (LFM2_350M, 354_483_968),
    ],
    ids=lambda value: value.name if isinstance(value, Architecture) else None,
)
def test_parameters_are_counted_as_published(arch: Architecture, published: int) -> None:
    assert parameter_count(arch) == published


def test_of_a_mixture_a_token_uses_only_the_experts_it_is_routed_to() -> None:
    """ "A3B": 3.35 billion of 30.5."""
    assert active_parameter_count(QWEN3_30B) == 3_353_032_704
    assert active_parameter_count(LLAMA_1B) == parameter_count(LLAMA_1B)


def test_rotary_frequencies_are_in_the_file_and_not_in_the_count() -> None:
    names = {tensor.name: tensor for tensor in tensors(LLAMA_1B)}
    assert names["rope_freqs.weight"].shape == (32,)
    assert not names["rope_freqs.weight"].counted
    assert parameter_count(changed(LLAMA_1B, optional=())) == parameter_count(LLAMA_1B)


def test_a_tied_model_has_no_tensor_for_its_head() -> None:
    assert "output.weight" not in {tensor.name for tensor in tensors(LLAMA_1B)}
    untied = changed(LLAMA_1B, tied=False)
    assert parameter_count(untied) - parameter_count(LLAMA_1B) == 2048 * 128256


def test_norms_biases_and_routers_stay_f32() -> None:
    types = {tensor.name: tensor.source_type for tensor in tensors(QWEN3_30B)}
    assert types["blk.0.attn_norm.weight"] == types["blk.0.ffn_gate_inp.weight"] == "F32"
    assert types["blk.0.attn_q.weight"] == types["blk.0.ffn_up_exps.weight"] == "F16"
    types = {tensor.name: tensor.source_type for tensor in tensors(LFM2_350M)}
    assert types["blk.0.shortconv.conv.weight"] == "F32"
    assert types["blk.0.shortconv.in_proj.weight"] == "F16"


def test_every_sixth_block_of_gemma_3_sees_the_whole_context() -> None:
    windows = [layer.window for layer in layers(GEMMA_3_1B)]
    assert windows[:6] == [512] * 5 + [None]
    assert windows.count(None) == 4


def test_blocks_without_attention_have_a_state_and_no_heads() -> None:
    conv, _, attention = layers(LFM2_350M)[:3]
    assert (conv.kind, conv.n_head_kv, conv.conv_state) == ("shortconv", 0, 1024 * 2)
    assert (attention.kind, attention.n_head_kv, attention.conv_state) == ("attention", 8, 0)


def test_the_state_of_a_delta_net_block_is_the_engine_s() -> None:
    """Qwen3.5-4B: 3 x (4096 + 2 x 16 x 128) and 128 x 4096 elements."""
    assert parameter_count(QWEN35_4B) == 4_205_751_296
    assert (layers(QWEN35_4B)[0].conv_state, layers(QWEN35_4B)[0].recurrent_state) == (24576, 524288)
    assert [layer.kind for layer in layers(QWEN35_4B)[:4]] == ["deltanet"] * 3 + ["attention"]


def test_blocks_for_multi_token_prediction_are_in_the_file_and_do_not_run() -> None:
    """That of Qwen3.5-4B has 120,599,552 parameters, as stored on the Hub."""
    arch = changed(QWEN35_4B, n_layer_nextn=1)
    extra = [tensor for tensor in tensors(arch) if tensor.name.startswith("blk.32.")]
    assert sum(tensor.n_elements for tensor in extra) == 120_599_552
    assert parameter_count(arch) == parameter_count(QWEN35_4B)
    assert len(layers(arch)) == 32
    assert gguf_metadata(arch)["qwen35.block_count"] == 33


def test_latent_attention_caches_one_vector_a_token() -> None:
    """DeepSeek-V2-Lite: 512 + 64 elements, and no values of their own."""
    arch = Architecture(
        name="deepseek2",
        n_layer=27,
        n_embd=2048,
        n_ff=10944,
        n_head=16,
        n_head_kv=16,
        head_dim=192,
        n_vocab=102400,
        context_length=163840,
        moe=Experts(n_expert=64, n_expert_used=6, n_ff=1408, n_shared=2, n_dense_lead=1),
        mla=LatentAttention(kv_rank=512, rope_dim=64, nope_dim=128, value_dim=128),
    )
    first, second = layers(arch)[:2]
    assert (first.n_head_kv, first.head_dim_k, first.head_dim_v) == (1, 576, 0)
    assert (first.n_ff, first.n_expert) == (10944, 0)
    assert (second.n_ff, second.n_expert, second.n_ff_shared) == (0, 64, 2816)
    assert parameter_count(arch) == 15_706_484_224


def test_looped_blocks_run_twice_and_are_stored_once() -> None:
    arch = changed(LLAMA_1B, name="nanbeige", n_loop=2)
    assert len(layers(arch)) == 32
    assert parameter_count(arch) == parameter_count(LLAMA_1B)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_layer": 0}, "n_layer = 0 is out of range"),
        ({"n_vocab": 1 << 40}, "n_vocab = .* is out of range"),
        ({"pattern": "xy"}, "pattern 'xy' has unknown letters"),
        ({"pattern": ""}, "pattern '' has unknown letters"),
        ({"pattern": "sa"}, "pattern 'sa' needs window"),
        ({"pattern": "ma"}, "pattern 'ma' needs ssm"),
    ],
)
def test_a_nonsense_dimension_is_refused_by_name(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidModelError, match=message):
        changed(LLAMA_1B, **fields)


def test_what_an_architecture_has_not_is_refused() -> None:
    with pytest.raises(UnknownArchitectureError, match=r"architecture 'gpt5' are not known; known: .*llama"):
        tensors(changed(LLAMA_1B, name="gpt5"))
    with pytest.raises(InvalidModelError, match="no such optional tensors: wings; known: rope_freqs"):
        tensors(changed(LLAMA_1B, optional=("wings",)))
    with pytest.raises(InvalidModelError, match="qwen3: has no experts"):
        tensors(changed(LLAMA_1B, name="qwen3", optional=(), moe=Experts(8, 2)))
    with pytest.raises(InvalidModelError, match="has no blocks c"):
        tensors(changed(LLAMA_1B, pattern="ca", conv_kernel=3))


def test_an_architecture_is_written_the_way_a_person_would() -> None:
    text = """
        name = "gemma3"
        n_layer = 26
        n_embd = 1152
        n_ff = 6912
        n_head = 4
        n_head_kv = 1
        head_dim = 256
        n_vocab = 262144
        context_length = 32768
        tied = true
        pattern = "sssssa"
        window = { size = 512 }
    """
    assert msgspec.convert(tomllib.loads(text), Architecture) == GEMMA_3_1B
    assert msgspec.to_builtins(GEMMA_3_1B) == tomllib.loads(text)


@given(st.text(alphabet="as", min_size=1, max_size=6), st.integers(1, 70))
def test_a_pattern_is_found_again_in_the_blocks_it_makes(pattern: str, n_layer: int) -> None:
    blocks = (pattern * n_layer)[:n_layer]
    found = shortest_pattern(blocks)
    assert (found * n_layer)[:n_layer] == blocks
    assert len(found) <= len(pattern)


@given(st.integers(1, 64), st.integers(1, 64), st.booleans())
def test_more_blocks_and_more_words_never_need_fewer_parameters(n_layer: int, words: int, tied: bool) -> None:
    arch = changed(LLAMA_1B, n_layer=n_layer, n_vocab=words * 1000, tied=tied)
    assert parameter_count(changed(arch, n_layer=n_layer + 1)) > parameter_count(arch)
    assert parameter_count(changed(arch, n_vocab=words * 1000 + 1)) > parameter_count(arch)
