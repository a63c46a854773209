"""The sizes the catalog ships, against numbers that others published."""

from __future__ import annotations

import pytest

from advisor.sizes import Sizes, engine_version, size_table
from quantize.architecture import Architecture, Experts

pytestmark = pytest.mark.engine

LLAMA_3_1_8B = Architecture(
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

# llama.cpp, tools/quantize/README.md, table of meta-llama/Llama-3.1-8B.
PUBLISHED_BITS_PER_WEIGHT = {
    "IQ1_S": 2.0042,
    "IQ1_M": 2.1460,
    "IQ2_XXS": 2.3824,
    "IQ2_XS": 2.5882,
    "IQ2_S": 2.7403,
    "IQ2_M": 2.9294,
    "IQ3_XXS": 3.2548,
    "IQ3_S": 3.6606,
    "IQ3_M": 3.7628,
    "IQ4_XS": 4.4597,
    "IQ4_NL": 4.6818,
    "Q2_K": 3.1593,
    "Q3_K_S": 3.6429,
    "Q3_K_M": 3.9960,
    "Q3_K_L": 4.2979,
    "Q4_K_S": 4.6672,
    "Q4_K_M": 4.8944,
    "Q5_K_S": 5.5704,
    "Q5_K_M": 5.7036,
    "Q6_K": 6.5633,
    "Q8_0": 8.5008,
    "F16": 16.0005,
}


@pytest.fixture(scope="module")
def llama() -> dict[str, Sizes]:
    pytest.importorskip("llama_cpp")
    return size_table(LLAMA_3_1_8B)


def test_bits_per_weight_are_those_of_llama_cpps_own_table(llama: dict[str, Sizes]) -> None:
    found = {preset: round(llama[preset].bits_per_weight, 4) for preset in PUBLISHED_BITS_PER_WEIGHT}
    assert found == PUBLISHED_BITS_PER_WEIGHT


def test_every_byte_is_of_some_type_and_lies_somewhere(llama: dict[str, Sizes]) -> None:
    for sizes in llama.values():
        assert sum(sizes.bytes_by_type.values()) == sizes.tensor_bytes
        assert sizes.embedding_bytes + sizes.layer_bytes + sizes.output_bytes == sizes.tensor_bytes


def test_a_token_reads_everything_but_the_embedding_table(llama: dict[str, Sizes]) -> None:
    sizes = llama["Q4_K_M"]
    assert sum(sizes.read_bytes_by_type.values()) == sizes.tensor_bytes - sizes.embedding_bytes


def test_a_tied_embedding_is_read_as_the_output_head_and_stored_once() -> None:
    pytest.importorskip("llama_cpp")
    tied = Architecture(
        name="llama",
        n_layer=2,
        n_embd=2048,
        n_ff=8192,
        n_head=32,
        n_head_kv=8,
        head_dim=64,
        n_vocab=128256,
        context_length=131072,
        tied=True,
    )
    sizes = size_table(tied)["Q4_K_M"]
    assert sizes.output_bytes == sizes.embedding_bytes == 128256 * 2048 // 256 * 210  # Q6_K
    assert sum(sizes.read_bytes_by_type.values()) == sizes.tensor_bytes


def test_a_token_reads_only_the_experts_it_is_routed_to() -> None:
    pytest.importorskip("llama_cpp")
    mixtral = Architecture(
        name="llama",
        n_layer=2,
        n_embd=4096,
        n_ff=14336,
        n_head=32,
        n_head_kv=8,
        head_dim=128,
        n_vocab=32000,
        context_length=32768,
        moe=Experts(n_expert=8, n_expert_used=2),
    )
    table = size_table(mixtral)
    sizes = table["F16"]
    experts = 2 * 8 * 3 * 4096 * 14336 * 2  # blocks, experts, matrices, F16
    unread = sizes.tensor_bytes - sum(sizes.read_bytes_by_type.values())
    assert unread == sizes.embedding_bytes + experts * 6 // 8
    assert "MXFP4" in table


def test_a_dense_model_has_no_mxfp4(llama: dict[str, Sizes]) -> None:
    assert "MXFP4" not in llama


def test_the_engine_behind_the_sizes_is_named() -> None:
    pytest.importorskip("llama_cpp")
    assert engine_version().package
