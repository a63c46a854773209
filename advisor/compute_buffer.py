"""The compute buffer: where the engine keeps what a micro-batch needs on its way through the model.

The engine lays the tensors of one micro-batch's graph into one buffer, reusing space as soon as a tensor has been
read (ggml-alloc.c). What it needs is proportional to the micro-batch, grows with the context only through the
attention mask, and depends on the order in which holes of the right size appear: a best fit may jump by 16% where
a tensor stops fitting into a hole.

So there are two ways to know it. For architectures that the engine was asked about (`make catalog`), the table
`compute_buffers.json` holds bytes per token of the micro-batch at contexts that are powers of two; in between it
is interpolated. For others there is a formula of the widest stages of the graph (`_stages`).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from functools import lru_cache
from pathlib import Path

import msgspec

from advisor.kv_cache import CELL_PADDING, kept, kv_cache_bytes
from quantize.architecture import Architecture, Layer, layers, tensors

TABLE_FILE = Path(__file__).with_name("compute_buffers.json")

CONTEXTS = tuple(256 << n for n in range(10))
"""Contexts of the table, 256 to 131072."""

MICRO_BATCH = 512
"""Micro-batch of the table's measurements; contexts below it were measured with as many tokens as they hold."""

QUANTIZED = frozenset({"q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"})


class Buffers(msgspec.Struct, frozen=True, array_like=True):
    """Bytes per token of the micro-batch at each of `CONTEXTS`, flash attention on."""

    plain: tuple[int, ...]
    """F16 cache, logits for every token: what the engine reserves unless it is told otherwise."""
    quantized: tuple[int, ...]
    """Q8_0 cache, logits for every token. Empty where the model cannot have one."""
    one_row: tuple[int, ...]
    """F16 cache, logits for one token: what a prompt really touches."""


class Table(msgspec.Struct, frozen=True):
    """`compute_buffers.json`: the engine that was asked and its answers by `digest` of the architecture."""

    engine: str
    buffers: dict[str, Buffers]


def compute_buffer_bytes(
    arch: Architecture,
    context_length: int,
    micro_batch: int = 512,
    type_k: str = "f16",
    type_v: str = "f16",
    *,
    flash_attention: bool = True,
    all_logits: bool = True,
) -> int:
    """Bytes of the compute buffer on one processor.

    `all_logits`: room for a row of logits per token of the micro-batch (the library's default, llama-cli,
    llama-bench) or for one row (llama-server with one slot). The first is also what is reserved, the second what
    becomes resident, since a prompt asks for the logits of its last token only.
    """
    tokens = min(micro_batch, _padded(context_length))
    bytes_ = per_token(arch, context_length, quantized=False, all_logits=all_logits) * tokens
    if type_k in QUANTIZED or type_v in QUANTIZED:
        # A quantized cache may move the layout either way, but never costs more than it saves (a promise of ours,
        # which the engine breaks by some megabytes for short contexts of small models).
        saved = kv_cache_bytes(arch, context_length, "f16", "f16", micro_batch) - kv_cache_bytes(
            arch, context_length, type_k, type_v, micro_batch
        )
        other = per_token(arch, context_length, quantized=True, all_logits=all_logits) * tokens
        bytes_ = min(other, bytes_ + max(0, saved))
    if not flash_attention:
        bytes_ = max(bytes_, _attention_scores(arch, context_length) * tokens)
    return int(bytes_)


def is_measured(arch: Architecture) -> bool:
    """True where the engine was asked about this architecture."""
    return _buffers(arch) is not None


def per_token(arch: Architecture, context_length: int, *, quantized: bool, all_logits: bool) -> float:
    """Bytes per token of the micro-batch: from the table where there is one, from the formula otherwise."""
    buffers = _buffers(arch)
    if buffers is None:
        return _formula(arch, context_length, all_logits)
    row = (
        buffers.one_row
        if not all_logits
        else buffers.quantized
        if quantized and buffers.quantized
        else buffers.plain
    )
    cells = max(CONTEXTS[0], context_length)
    right = min(
        max(bisect_left(CONTEXTS, cells), 1), len(CONTEXTS) - 1
    )  # beyond the last: its segment goes on
    start, end = CONTEXTS[right - 1], CONTEXTS[right]
    low, high = row[right - 1], row[right]
    return low + (high - low) * (cells - start) / (end - start)


@lru_cache(maxsize=1)
def load_table() -> Table:
    """The engine's answers; empty where the file is missing."""
    if not TABLE_FILE.exists():
        return Table("none", {})
    return msgspec.json.decode(TABLE_FILE.read_bytes(), type=Table)


def digest(arch: Architecture) -> str:
    """A short name for an architecture's dimensions, stable from run to run."""
    return hashlib.sha256(repr(arch).encode()).hexdigest()[:12]


@lru_cache(maxsize=4096)
def _buffers(arch: Architecture) -> Buffers | None:
    return load_table().buffers.get(digest(arch))


# --- the formula ----------------------------------------------------------------------------------------------


class _Stages(msgspec.Struct, frozen=True):
    """Floats per token that live at once: `always`, and on top of it the widest stage."""

    always: int
    blocks: int
    logits: int
    masks: tuple[int | None, ...]  # one mask per window
    score_heads: int


def _formula(arch: Architecture, context_length: int, all_logits: bool) -> float:
    """inputs + the larger of (masks + widest stage of a block) and (logits), in bytes per token."""
    stages = _stages(arch)
    widest = _mask_bytes(stages, context_length, 2) + 4 * stages.blocks
    if all_logits:
        widest = max(widest, 4 * stages.logits)
    return 4 * stages.always + widest


def _attention_scores(arch: Architecture, context_length: int) -> float:
    """Without flash attention the scores of all heads against the whole context live at once, and masks are F32."""
    stages = _stages(arch)
    values = sum(group.values for group in kept(arch).cells) // max(1, len(layers(arch)))
    return (
        4 * stages.always
        + _mask_bytes(stages, context_length, 4)
        + 8 * values  # one index per value: the cache is kept transposed
        + 4 * 4 * arch.n_embd  # residual, its norm, query, and a hole
        + 4 * _padded(context_length) * stages.score_heads
    )


def _mask_bytes(stages: _Stages, context_length: int, width: int) -> int:
    cells = _padded(context_length)
    return sum(
        width * (cells if window is None else min(cells, _padded(window + MICRO_BATCH)))
        for window in stages.masks
    )


@lru_cache(maxsize=1024)
def _stages(arch: Architecture) -> _Stages:
    """The widest moments of the graph, in floats per token.

    always: the slot for embeddings given instead of tokens (n_embd). blocks: residual, norm and one hole of n_embd
    each, and the widest block on top (`_width`). logits: n_vocab and the norm before it.
    """
    units = layers(arch)
    distinct = {layer: index for index, layer in enumerate(units) if index < arch.n_layer}
    return _Stages(
        always=arch.n_embd,
        blocks=3 * arch.n_embd + max(_width(arch, layer, index) for layer, index in distinct.items()),
        logits=arch.n_embd + arch.n_vocab,
        masks=tuple({layer.window for layer in units if layer.n_head}),
        score_heads=max(layer.n_head for layer in units),
    )


def _width(arch: Architecture, layer: Layer, index: int) -> int:
    """Floats per token that the widest step of a block holds, besides its residual.

    A gated network holds gate, up and their product, a plain one its activation only. The experts' outputs (n_embd
    each) stand beside the product unless they fit where gate and up were. A recurrent block holds the input of
    its convolution, the output, and what the two were made from.
    """
    prefix = f"blk.{index}.ffn_"
    shapes = {
        info.name.removeprefix(prefix): info.shape for info in tensors(arch) if info.name.startswith(prefix)
    }
    gated = "gate.weight" in shapes or shapes.get("up.weight", (0, 0))[1] == 2 * layer.n_ff
    chosen, outputs = layer.n_expert_used * layer.n_ff_expert, layer.n_expert_used * arch.n_embd
    recurrent = 3 * arch.ssm.conv_width + 2 * arch.ssm.inner if arch.ssm and layer.recurrent_state else 0
    return max(
        layer.n_ff * (3 if gated else 1),
        3 * chosen + (outputs if outputs > 2 * chosen else 0),
        layer.n_head * (layer.head_dim_k + layer.head_dim_v),
        recurrent,
    )


def _padded(cells: int) -> int:
    return -(-cells // CELL_PADDING) * CELL_PADDING
