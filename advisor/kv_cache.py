"""What a context keeps per sequence: keys and values, and the state of recurrent blocks. Exact.

Read from llama.cpp of llama-cpp-python 0.3.36 (src/llama-context.cpp, llama-kv-cache.cpp, llama-kv-cache-iswa.cpp,
llama-memory-recurrent.cpp) and equal to what the engine reports for every architecture of the catalog.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from quantize.architecture import Architecture, layers
from quantize.types import TENSOR_TYPES

KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
"""Types the engine takes for keys and values, as it spells them."""

CELL_PADDING = 256
"""The engine rounds the number of cells of a cache up to a multiple of this."""

_BLOCKS = {
    name: (TENSOR_TYPES[name.upper()].block_size, TENSOR_TYPES[name.upper()].type_size) for name in KV_TYPES
}


class Cells(msgspec.Struct, frozen=True):
    """Blocks with the same window: how many numbers one cell of their caches holds, all blocks together."""

    window: int | None
    keys: int
    values: int


class Kept(msgspec.Struct, frozen=True):
    """What the blocks of a model from some block on keep."""

    cells: tuple[Cells, ...]
    state_bytes: int


@lru_cache(maxsize=4096)
def kept(arch: Architecture, first: int = 0) -> Kept:
    """What the blocks from number `first` on keep; blocks that share another's cache keep nothing."""
    blocks = [layer for index, layer in enumerate(layers(arch)) if index % arch.n_layer >= first]
    groups: dict[int | None, tuple[int, int]] = {}
    for layer in blocks:
        if layer.n_head_kv and not layer.shares_kv:
            keys, values = groups.get(layer.window, (0, 0))
            groups[layer.window] = (
                keys + layer.n_head_kv * layer.head_dim_k,
                values + layer.n_head_kv * layer.head_dim_v,
            )
    return Kept(
        cells=tuple(Cells(window, *size) for window, size in groups.items()),
        state_bytes=sum(4 * (layer.conv_state + layer.recurrent_state) for layer in blocks),
    )


def kv_cache_bytes(
    arch: Architecture,
    context_length: int,
    type_k: str = "f16",
    type_v: str = "f16",
    micro_batch: int = 512,
    n_parallel: int = 1,
    *,
    first: int = 0,
) -> int:
    """Bytes of the KV cache of the blocks from `first` on.

    For each block: cells x (KV heads x size of a key, in `type_k`, + KV heads x size of a value, in `type_v`);
    latent attention keeps no values. A context has `context_length` cells, rounded up to 256, shared out evenly
    among `n_parallel` sequences. A block with a sliding window has no more than window + micro-batch, rounded up:
    a micro-batch is written before its oldest token may be forgotten.
    """
    per_sequence = _padded(-(-_padded(context_length) // n_parallel))
    batch = min(micro_batch, _padded(context_length))
    k_block, k_size = _BLOCKS[type_k]
    v_block, v_size = _BLOCKS[type_v]
    total = 0
    for group in kept(arch, first).cells:
        cells = per_sequence
        if group.window is not None:
            cells = _padded(min(per_sequence, group.window + batch))
        total += cells * (group.keys // k_block * k_size + group.values // v_block * v_size)
    return total * n_parallel


def state_bytes(arch: Architecture, n_parallel: int = 1, *, first: int = 0) -> int:
    """Bytes of the recurrent state of the blocks from `first` on: F32, the same at any context.

    Convolution state and recurrent state of each Mamba, gated delta-net or short convolution block, once per
    sequence; the elements are `Layer.conv_state` and `Layer.recurrent_state`.
    """
    return kept(arch, first).state_bytes * n_parallel


@lru_cache(maxsize=4096)
def kv_type_problem(arch: Architecture, type_k: str, type_v: str) -> str | None:
    """Why the engine would refuse these cache types for this model; None where it takes them.

    A head must be a whole number of the type's blocks, and latent attention, which keeps keys only, takes no two
    types (llama_init_from_model).
    """
    for what, name, sizes in (
        ("keys", type_k, {layer.head_dim_k for layer in layers(arch) if layer.n_head}),
        ("values", type_v, {layer.head_dim_v for layer in layers(arch) if layer.n_head}),
    ):
        block = _BLOCKS[name][0]
        for size in sorted(sizes):
            if size % block:
                return f"{what} of {size} numbers a head are no multiple of {name}'s blocks of {block}"
    if arch.mla is not None and type_k != type_v:
        return f"latent attention keeps one vector for keys and values: {type_k} and {type_v} must be equal"
    return None


def _padded(cells: int) -> int:
    return -(-cells // CELL_PADDING) * CELL_PADDING
