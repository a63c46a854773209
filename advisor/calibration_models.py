"""The synthetic models that a calibration runs, each made so that one term of the speed estimate stands out.

They are llama-like: `wide` blocks are nearly all matrices, so the rate of a tensor type shows; many `narrow` blocks
show what a block costs beside its matrices; `short_rows` is nearly all output head,
whose many short rows show what a row costs; `attention` models have a small network, so that reading the cache
shows. Kinds of blocks that llama does not have (experts, recurrent ones) are cut out of published models.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from advisor.load import Load, make_load
from quantize.architecture import Architecture, tensors
from quantize.types import TENSOR_TYPES, row_bytes

N_VOCAB = 512  # a head so small that it does not count
WIDE, NARROW, SHORT_ROW = 2048, 576, 512
_NEVER_QUANTIZED = "token_embd.weight"

KIND_MODELS: dict[str, str] = {
    "experts": "granite-3.1-1b-a400m-instruct",
    "deltanet": "Qwen3.5-0.8B",
    "mamba2": "granite-4.0-h-350m",
}
"""Kinds of blocks, and the model of the catalog that a few blocks of theirs are taken from."""


class CalibrationModel(msgspec.Struct, frozen=True):
    """A synthetic model: its dimensions, and the type of every matrix."""

    name: str
    arch: Architecture
    type: str

    @property
    def types(self) -> dict[str, str]:
        """The type of each tensor that is a matrix; the small ones stay as in an F16 file."""
        return {
            tensor.name: self.type
            for tensor in tensors(self.arch)
            if tensor.source_type == "F16" and tensor.shape[0] % TENSOR_TYPES[self.type].block_size == 0
        }

    @property
    def load(self) -> Load:
        return load_of_types(self.arch, self.types)


def llama(
    n_layer: int, n_embd: int, n_ff: int, n_head: int, n_head_kv: int, head_dim: int = 64
) -> Architecture:
    """A llama of these dimensions with a small vocabulary."""
    return Architecture(
        name="llama",
        n_layer=n_layer,
        n_embd=n_embd,
        n_ff=n_ff,
        n_head=n_head,
        n_head_kv=n_head_kv,
        head_dim=head_dim,
        n_vocab=N_VOCAB,
        context_length=8192,
        tied=True,
    )


def wide(kind: str, size: int) -> CalibrationModel:
    """About `size` bytes of one type in blocks as wide as those of a model of 1 to 3 billion parameters."""
    return CalibrationModel(
        f"wide {kind}", llama(_blocks(kind, size, WIDE, 6144, 8), WIDE, 6144, 32, 8), kind
    )


def narrow(kind: str, size: int) -> CalibrationModel:
    """About `size` bytes of one type in blocks as narrow as those of a model of 135 million parameters."""
    return CalibrationModel(
        f"narrow {kind}", llama(_blocks(kind, size, NARROW, 1536, 3), NARROW, 1536, 9, 3), kind
    )


def short_rows(kind: str, size: int) -> CalibrationModel:
    """About `size` bytes of one type in an output head, in rows as short as a model of 100 million parameters has."""
    vocabulary = round(size / row_bytes(kind, SHORT_ROW)) // 64 * 64
    arch = msgspec.structs.replace(llama(1, SHORT_ROW, 256, 8, 1), n_vocab=max(N_VOCAB, vocabulary))
    return CalibrationModel(f"short rows {kind}", arch, kind)


def attention() -> tuple[CalibrationModel, ...]:
    """Models that tell the costs of a head, of an operation and of a byte in the cache apart.

    Heads of 64 with grouped queries, of 256 with grouped queries, and of 64 with keys and values of their own.
    """
    shapes = ((16, 4, 64), (4, 1, 256), (16, 16, 64))
    return tuple(
        CalibrationModel(
            f"attention {heads}/{kv} x {dim}", llama(4, heads * dim, 256, heads, kv, dim), "Q8_0"
        )
        for heads, kv, dim in shapes
    )


def of_kind(published: Architecture, kind: str, type_name: str, size: int) -> CalibrationModel:
    """The first blocks of a published model, about `size` bytes of them, with a small vocabulary."""
    pattern = len(published.pattern)
    one = msgspec.structs.replace(published, n_layer=max(pattern, 1), n_vocab=N_VOCAB, tied=True)
    per_pattern = sum(_bytes(CalibrationModel(kind, one, type_name)).values()) or 1
    repeats = max(1, min(published.n_layer // one.n_layer, round(size / per_pattern)))
    arch = msgspec.structs.replace(one, n_layer=one.n_layer * repeats)
    return CalibrationModel(kind, arch, type_name)


def load_of_types(arch: Architecture, types: Mapping[str, str]) -> Load:
    """What a token asks of a model whose tensors have these types."""
    read: dict[str, int] = {}
    prompt = output = 0
    for tensor in tensors(arch):
        name = types.get(tensor.name, tensor.source_type)
        size = row_bytes(name, tensor.shape[0]) * (tensor.n_elements // tensor.shape[0])
        prompt += size
        if tensor.name == _NEVER_QUANTIZED and arch.tied:
            output = size
        if tensor.name.endswith("_exps.weight") and arch.moe is not None:
            size = size * arch.moe.n_expert_used // arch.moe.n_expert
        read[name] = read.get(name, 0) + size
    return make_load(arch, read, output, prompt)


def _blocks(kind: str, size: int, n_embd: int, n_ff: int, n_head_kv: int) -> int:
    """Blocks for `size` bytes; at least two, since a prompt computes half of the last one for its last token only."""
    weights = n_embd * (2 * n_embd + 2 * n_head_kv * 64 + 3 * n_ff)
    return max(2, round(size / (weights * TENSOR_TYPES[kind].bits_per_weight / 8)))


def _bytes(model: CalibrationModel) -> dict[str, float]:
    return {group.type: group.bytes_ for group in model.load.weights}
