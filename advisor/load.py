"""What a model asks of the hardware: bytes and operations for each token, from its architecture and exact sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from advisor.catalog import Model, Variant
from quantize.architecture import Architecture, Layer, layers
from quantize.types import TENSOR_TYPES, row_bytes


class WeightGroup(msgspec.Struct, frozen=True):
    """Weights of one tensor type: `bytes_` that a token reads, and how many `weights` that is."""

    type: str
    bytes_: float
    weights: float
    head_weights: float = 0.0  # of them in the output head, which a prompt needs only once


class CacheRead(msgspec.Struct, frozen=True):
    """Attention layers of one window: cache bytes read and operations done for each position in it."""

    window: int | None
    bytes_per_position: float
    flops_per_position: float
    heads: float = 0.0  # query heads, all layers together


class Load(msgspec.Struct, frozen=True, cache_hash=True):
    """What generating a token asks of the hardware, for a model at a quantization and KV cache type."""

    weights: tuple[WeightGroup, ...]
    cache: tuple[CacheRead, ...]
    nodes: tuple[tuple[str, int], ...]  # layer kinds and how many of each; "experts" counts their routers
    state_bytes: float  # recurrent states, read and written
    prompt_bytes: float  # weights that a long prompt reads: all experts
    expert_share: float  # of the operations, in expert matrices
    n_embd: int = 0
    tail_weights: float = 0.0  # of the last block's network, which a prompt needs for its last token only
    row_length: float = 0.0  # of the blocks' matrices, on average over their rows; 0: not known


_loads: dict[tuple[str, str, int, str, str], Load] = {}


def load_of(model: Model, variant: Variant, type_k: str = "f16", type_v: str = "f16") -> Load:
    """What a token of `model` at `variant` asks, with KV cache types `type_k` and `type_v`; kept once computed.

    Raises ValueError for a model without an architecture.
    """
    key = (model.id, variant.quant, variant.tensor_bytes, type_k, type_v)
    load = _loads.get(key)
    if load is None:
        if model.architecture is None:
            raise ValueError(f"{model.id} has no known architecture: {model.unsupported}")
        load = _loads[key] = make_load(
            model.architecture,
            variant.read_bytes_by_type,
            variant.output_bytes,
            variant.tensor_bytes - (0 if model.architecture.tied else variant.embedding_bytes),
            type_k,
            type_v,
        )
    return load


def make_load(
    arch: Architecture,
    read_bytes_by_type: dict[str, int],
    output_bytes: int,
    prompt_bytes: int,
    type_k: str = "f16",
    type_v: str = "f16",
) -> Load:
    """A load from the bytes a token reads, those of the output head, and those a long prompt reads."""
    blocks = _blocks(arch, type_k, type_v)
    weights = weight_groups(arch, read_bytes_by_type, output_bytes)
    total = sum(group.weights - group.head_weights for group in weights)
    return Load(
        weights=weights,
        cache=blocks.cache,
        nodes=blocks.nodes,
        state_bytes=blocks.state_bytes,
        prompt_bytes=float(prompt_bytes),
        expert_share=min(1.0, blocks.expert_weights / total) if total else 0.0,
        n_embd=arch.n_embd,
        tail_weights=blocks.tail_weights,
        row_length=blocks.row_length,
    )


_SMALL_F32 = 0.05  # of all bytes: what stays F32 in a quantized file follows from the architecture
_NO_SPEED = frozenset({"rope_freqs", "rope_factors"})  # tables of a few hundred numbers


def load_digest(arch: Architecture, bytes_by_type: Mapping[str, int]) -> str:
    """Sixteen hexadecimal digits that models share whose speed is the same, whatever their weights.

    That takes the same graph (architecture, shapes of all blocks, vocabulary) and the same bytes of each tensor
    type; it leaves out the context a model was trained for and how its positions are scaled. Bytes may be
    those of the tensors a skeleton, a catalog variant or a file has: they are equal where the types are.
    """
    total = sum(bytes_by_type.values())
    types = sorted(
        (name, size)
        for name, size in bytes_by_type.items()
        if size and (name != "F32" or size >= _SMALL_F32 * total)
    )
    return hashlib.sha256(_shape(arch) + msgspec.json.encode(types)).hexdigest()[:16]


@lru_cache(maxsize=4096)
def _shape(arch: Architecture) -> bytes:
    optional = tuple(sorted(set(arch.optional) - _NO_SPEED))
    return msgspec.json.encode(_fields(msgspec.structs.replace(arch, context_length=1, optional=optional)))


def _fields(value: object) -> object:
    """A struct as a mapping of all its fields.

    msgspec leaves out a default only where the value is the very same object, so that equal architectures from a
    file and from the catalog would encode differently.
    """
    if isinstance(value, msgspec.Struct):
        return {name: _fields(getattr(value, name)) for name in value.__struct_fields__}
    return value


class _Blocks(msgspec.Struct, frozen=True):
    """What all blocks of an architecture ask together, whatever the types of their weights."""

    cache: tuple[CacheRead, ...]
    nodes: tuple[tuple[str, int], ...]
    state_bytes: float
    expert_weights: float  # that one token passes
    tail_weights: float
    row_length: float


@lru_cache(maxsize=4096)
def _blocks(arch: Architecture, type_k: str, type_v: str) -> _Blocks:
    blocks = layers(arch)
    return _Blocks(
        cache=_cache_reads(blocks, type_k.upper(), type_v.upper()),
        nodes=_nodes(blocks),
        state_bytes=8.0 * sum(block.conv_state + block.recurrent_state for block in blocks),
        expert_weights=sum(3.0 * arch.n_embd * b.n_ff_expert * b.n_expert_used for b in blocks if b.n_expert),
        tail_weights=3.0 * arch.n_embd * _network_width(blocks[-1]),
        row_length=_row_length(arch, blocks),
    )


def _network_width(block: Layer) -> int:
    """Width of the feed-forward networks that one token passes in a block: gate, up and down each have it."""
    return block.n_ff + block.n_ff_shared + block.n_ff_expert * block.n_expert_used


def _row_length(arch: Architecture, blocks: tuple[Layer, ...]) -> float:
    """Weights for each row of the matrices of attention and networks; other matrices are much like them."""
    weights = rows = 0.0
    for block in blocks:
        heads = block.n_head * block.head_dim_k + block.n_head_kv * (block.head_dim_k + block.head_dim_v)
        out = block.n_head * (block.head_dim_v or block.head_dim_k)
        width = _network_width(block)
        weights += arch.n_embd * (heads + out + 3.0 * width)
        rows += heads + 2.0 * width + arch.n_embd * (bool(heads) + bool(width) * max(1, block.n_expert_used))
    return weights / rows if rows else float(arch.n_embd)


def weight_groups(
    arch: Architecture, read_bytes_by_type: Mapping[str, int], output_bytes: int
) -> tuple[WeightGroup, ...]:
    """The weights that a token reads, by type; those of the output head, of `output_bytes`, are told apart."""
    head_weights = float(arch.n_embd * arch.n_vocab)
    wanted = output_bytes / head_weights
    # The head's type: of those present, the one whose bits per weight its size shows.
    head = min(read_bytes_by_type, key=lambda name: abs(TENSOR_TYPES[name].bits_per_weight / 8 - wanted))
    groups = []
    for name, read in read_bytes_by_type.items():
        kind = TENSOR_TYPES[name]
        count = read * kind.block_size / kind.type_size
        groups.append(
            WeightGroup(name, float(read), count, min(count, head_weights) if name == head else 0.0)
        )
    return tuple(groups)


def _cache_reads(blocks: tuple[Layer, ...], type_k: str, type_v: str) -> tuple[CacheRead, ...]:
    """Per window: bytes of keys and values, and 2 x 2 operations per query element, that a position costs.

    Blocks that share another's cache read it all the same.
    """
    reads: dict[int | None, tuple[float, float, float]] = {}
    for block in blocks:
        if not block.n_head:
            continue
        bytes_ = row_bytes(type_k, block.n_head_kv * block.head_dim_k)
        if block.head_dim_v:
            bytes_ += row_bytes(type_v, block.n_head_kv * block.head_dim_v)
        flops = 2.0 * block.n_head * (block.head_dim_k + (block.head_dim_v or block.head_dim_k))
        before = reads.get(block.window, (0.0, 0.0, 0.0))
        reads[block.window] = (before[0] + bytes_, before[1] + flops, before[2] + block.n_head)
    return tuple(CacheRead(window, *costs) for window, costs in reads.items())


def _nodes(blocks: tuple[Layer, ...]) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    for block in blocks:
        counts[block.kind] = counts.get(block.kind, 0) + 1
        if block.n_expert:
            counts["experts"] = counts.get("experts", 0) + 1
    return tuple(counts.items())
