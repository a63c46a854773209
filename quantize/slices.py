"""A few layers in place of many: slices of a model that together tell how long the whole of it takes.

A slice has the embedding and the head of its model and `n_layer` of its blocks, of every kind of block its share:
with and without a window, attention and states, experts and plain networks. Of each kind it takes the tensor
types that blocks of small, middling and large size have in the whole model, since mixtures such as Q4_K_M give
some blocks more bits. What remains unlike is known in bytes (`block_bytes`), and the extrapolation counts those.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from quantize.architecture import Architecture, layers, tensors
from quantize.architectures.dimensions import layer, letter
from quantize.gguf_writer import TensorInfo

_STACKED = "_exps."  # experts, of which a token uses a few


class Slice(msgspec.Struct, frozen=True):
    """A model of `architecture`, whose block i stands for block `sources[i]` of the whole one."""

    architecture: Architecture
    sources: tuple[int, ...]

    @property
    def n_layer(self) -> int:
        return len(self.sources)


def smallest_slice(arch: Architecture) -> int:
    """The number of layers that a slice needs to have one of each kind."""
    return max(2, len(_kinds(arch)))


def slice_of(arch: Architecture, types: Mapping[str, str], n_layer: int) -> Slice:
    """A slice of `n_layer` blocks; the whole model, less what the engine does not run, if there are no more.

    `types` are those of the whole model's tensors, by name.
    """
    if n_layer >= arch.n_layer:
        return Slice(msgspec.structs.replace(arch, n_layer_nextn=0), tuple(range(arch.n_layer)))
    sizes = block_bytes(arch, types)
    kinds = _kinds(arch)
    chosen: list[tuple[int, int]] = []
    for blocks, count in zip(kinds, _shares([len(blocks) for blocks in kinds], n_layer), strict=True):
        # Where they stand: evenly, the last always among them, for its cache may be read by later blocks.
        places = [blocks[(i + 1) * len(blocks) // count - 1] for i in range(count)]
        by_size = sorted(blocks, key=lambda index: (sizes[index], index))
        models = sorted(by_size[(2 * i + 1) * len(blocks) // (2 * count)] for i in range(count))
        chosen += zip(places, models, strict=True)
    chosen.sort()
    return Slice(_cut(arch, [place for place, _ in chosen]), tuple(model for _, model in chosen))


def slice_types(part: Slice, types: Mapping[str, str]) -> dict[str, str]:
    """The types of a slice's tensors by their names in the slice."""
    found = {}
    for tensor in tensors(part.architecture):
        name = tensor.name
        if name.startswith("blk."):
            _, index, rest = name.split(".", 2)
            name = f"blk.{part.sources[int(index)]}.{rest}"
        if name in types:
            found[tensor.name] = types[name]
    return found


def block_bytes(arch: Architecture, types: Mapping[str, str]) -> tuple[int, ...]:
    """Weight bytes that one token reads in each block, all rounds of a looped model together."""
    sizes = [0] * (arch.n_layer + arch.n_layer_nextn)
    units = layers(arch)
    for tensor in tensors(arch):
        if tensor.name.startswith("blk."):
            index = int(tensor.name.split(".")[1])
            size = TensorInfo(tensor.name, tensor.shape, types.get(tensor.name, tensor.source_type)).bytes
            if _STACKED in tensor.name and index < arch.n_layer:
                size = size * units[index].n_expert_used // units[index].n_expert
            sizes[index] += size * arch.n_loop
    return tuple(sizes[: arch.n_layer])


def _kinds(arch: Architecture) -> list[list[int]]:
    """The blocks that run, by kind: blocks of a kind differ in nothing but the types of their tensors."""
    kinds: dict[object, list[int]] = {}
    for index in range(arch.n_layer):
        kinds.setdefault((letter(arch, index), layer(arch, index)), []).append(index)
    return list(kinds.values())


def _shares(counts: list[int], n: int) -> list[int]:
    """`n` shared out in proportion to `counts`: each gets one, the rest goes to whoever lacks most."""
    total = sum(counts)
    shares = [1] * len(counts)
    while sum(shares) < n:
        lacking = [n * count / total - share for count, share in zip(counts, shares, strict=True)]
        shares[lacking.index(max(lacking))] += 1
    return shares


def _cut(arch: Architecture, places: list[int]) -> Architecture:
    """The architecture of the blocks at `places` alone."""
    moe = arch.moe
    if moe is not None:
        moe = msgspec.structs.replace(moe, n_dense_lead=sum(index < moe.n_dense_lead for index in places))
    first_shared = arch.n_layer - arch.n_layer_shared_kv
    return msgspec.structs.replace(
        arch,
        n_layer=len(places),
        n_layer_nextn=0,
        n_layer_shared_kv=sum(index >= first_shared for index in places),
        pattern="".join(letter(arch, index) for index in places),
        moe=moe,
    )
