"""Slices: a few blocks that stand for all of a model."""

from __future__ import annotations

import pytest

from advisor.catalog import load_catalog
from quantize.architecture import Architecture, layers, tensors
from quantize.slices import block_bytes, slice_of, slice_types, smallest_slice

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
)


def mixture(arch: Architecture) -> dict[str, str]:
    """Types like those of Q4_K_M: some blocks have more bits in what weighs most."""
    n = arch.n_layer
    heavy = {i for i in range(n) if i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2}
    return {
        tensor.name: "Q6_K"
        if "ffn_down" in tensor.name and int(tensor.name.split(".")[1]) in heavy
        else "Q4_K"
        for tensor in tensors(arch)
        if tensor.source_type == "F16" and tensor.shape[0] % 256 == 0
    }


def architectures() -> list[Architecture]:
    return list(dict.fromkeys(m.architecture for m in load_catalog().models if m.architecture))


def named(name: str) -> Architecture:
    architecture = load_catalog().find(name).architecture
    assert architecture is not None
    return architecture


@pytest.mark.parametrize("n_layer", [2, 4, 8, 16])
def test_a_block_of_a_slice_weighs_what_a_block_of_the_model_weighs_on_average(n_layer: int) -> None:
    types = mixture(LLAMA_8B)
    blocks = block_bytes(LLAMA_8B, types)
    part = slice_of(LLAMA_8B, types, n_layer)
    mean = sum(blocks[index] for index in part.sources) / n_layer
    assert mean == pytest.approx(sum(blocks) / len(blocks), rel=0.02)


def test_blocks_of_a_slice_have_the_shapes_and_types_of_those_they_stand_for() -> None:
    """In every architecture of the catalog, at several numbers of layers."""
    for arch in architectures():
        types = mixture(arch)
        shapes = {tensor.name: tensor.shape for tensor in tensors(arch)}
        for n_layer in {smallest_slice(arch), 8, 13} & set(range(smallest_slice(arch), arch.n_layer)):
            part = slice_of(arch, types, n_layer)
            own = slice_types(part, types)
            assert part.n_layer == part.architecture.n_layer == n_layer
            assert part.architecture.n_layer_nextn == 0
            for tensor in tensors(part.architecture):
                name = tensor.name
                if name.startswith("per_layer_"):
                    continue  # as wide as there are layers
                if name.startswith("blk."):
                    _, index, rest = name.split(".", 2)
                    name = f"blk.{part.sources[int(index)]}.{rest}"
                assert tensor.shape == shapes[name], (arch.name, name)
                assert own.get(tensor.name) == types.get(name), (arch.name, name)


def test_every_kind_of_block_is_in_the_smallest_slice() -> None:
    for arch in architectures():
        part = slice_of(arch, {}, smallest_slice(arch))
        assert set(layers(part.architecture)) == set(layers(arch)), arch.name


def test_windows_states_and_experts_keep_their_share() -> None:
    assert slice_of(named("gemma-3-12b-it"), {}, 6).architecture.pattern == "sssssa"
    assert slice_of(named("granite-4.0-h-micro"), {}, 10).architecture.pattern.count("a") == 1
    lead = slice_of(named("DeepSeek-V2-Lite-Chat"), {}, 4).architecture
    assert lead.moe is not None
    assert lead.moe.n_dense_lead == 1


def test_blocks_that_share_a_cache_follow_one_with_a_window_and_one_without() -> None:
    """The engine lets them read the cache of the last two blocks that have one, in this order."""
    arch = named("gemma-4-E2B-it")
    for n_layer in range(4, 18):
        part = slice_of(arch, {}, n_layer).architecture
        own = n_layer - part.n_layer_shared_kv
        assert 0 < part.n_layer_shared_kv < n_layer
        assert part.pattern[own - 2 : own] == "sa"


def test_a_slice_of_as_many_layers_as_there_are_is_what_the_engine_runs_of_the_model() -> None:
    part = slice_of(LLAMA_8B, {}, 99)
    assert part.architecture == LLAMA_8B
    assert part.sources == tuple(range(32))


def test_of_stacked_experts_a_token_reads_those_it_is_routed_to() -> None:
    arch = named("Qwen3-30B-A3B-Instruct-2507")
    assert arch.moe is not None
    read = sum(block_bytes(arch, {}))
    held = sum(
        tensor.n_elements * (2 if tensor.source_type == "F16" else 4)
        for tensor in tensors(arch)
        if tensor.name.startswith("blk.")
    )
    assert held / 12 < read < held / 8


def test_blocks_that_run_twice_are_read_twice() -> None:
    looped = next(arch for arch in architectures() if arch.n_loop > 1)
    once = sum(
        tensor.n_elements * (2 if tensor.source_type == "F16" else 4)
        for tensor in tensors(looped)
        if tensor.name.startswith("blk.")
    )
    assert sum(block_bytes(looped, {})) == looped.n_loop * once
