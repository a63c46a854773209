"""`Architecture`: the dimensions of a model, and its blocks as the engine runs them.

An architecture is written down the way a person would: numbers that hold for the whole model, a `pattern`
of one letter per block, and small groups for what only some models have. What follows from them (the width
of a fused projection, the state a block keeps) is derived here and in `tensors.py`, never stored.

`layers()` describes blocks as llama.cpp runs them (llama-cpp-python 0.3.36): a window that the engine does
not apply is not a window here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec

from quantize.architectures.plans import plan_of
from quantize.errors import InvalidModelError

LayerKind = Literal["attention", "mamba2", "deltanet", "shortconv", "parallel", "ffn"]

# Letters of `Architecture.pattern`.
KINDS: dict[str, LayerKind] = {
    "a": "attention",  # over the whole context
    "s": "attention",  # over a sliding window
    "m": "mamba2",
    "d": "deltanet",
    "k": "deltanet",  # Kimi delta attention
    "c": "shortconv",
    "p": "parallel",  # attention and mamba2 side by side
    "f": "ffn",  # a feed-forward network and no mixer
}
_RECURRENT = frozenset("mdkcp")
_ATTENTION = frozenset("asp")


class SlidingWindow(msgspec.Struct, frozen=True, omit_defaults=True):
    """Attention over the last `size` tokens, in blocks with the letter "s". None: as in the other blocks."""

    size: int
    n_head: int | None = None
    n_head_kv: int | None = None
    head_dim: int | None = None
    n_rot: int | None = None


class Experts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Mixture of experts in place of a feed-forward network (for gemma4: beside it)."""

    n_expert: int
    n_expert_used: int
    n_ff: int | None = None  # width of one expert; None: `Architecture.n_ff`, as the engine reads it
    n_shared: int = 0  # experts that every token passes
    n_ff_shared: int | None = None  # width of all shared experts together; None: n_shared x n_ff
    n_dense_lead: int = 0  # first blocks with a plain feed-forward network


class LatentAttention(msgspec.Struct, frozen=True, omit_defaults=True):
    """Multi-head latent attention: keys and values compressed to one vector per token."""

    kv_rank: int
    rope_dim: int  # rotated part of a key, shared by the heads
    nope_dim: int  # unrotated part of a head's key
    value_dim: int
    q_rank: int | None = None


class StateSpace(msgspec.Struct, frozen=True, omit_defaults=True):
    """Dimensions of mamba2 and of gated delta-net blocks, under the names llama.cpp has for them.

    Delta-net: `inner` is value heads x head size, `state` the head size, `n_head` value heads, `n_group`
    key heads.
    """

    inner: int
    state: int
    n_head: int
    n_group: int
    conv: int = 4  # convolution kernel

    @property
    def conv_width(self) -> int:
        return self.inner + 2 * self.n_group * self.state


class Architecture(msgspec.Struct, frozen=True, omit_defaults=True, cache_hash=True):
    """One model's dimensions. `name` is the architecture's name in GGUF ("llama", "qwen35moe")."""

    name: str
    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    head_dim: int
    n_vocab: int
    context_length: int
    tied: bool = False  # the token embedding is also the output head
    pattern: str = "a"  # letters of `KINDS`, one per block, repeated from its start until all blocks have one
    optional: tuple[str, ...] = ()  # groups of tensors that only some models of this architecture have
    head_dim_v: int | None = None  # None: head_dim
    n_rot: int | None = None  # rotated part of a head; None: all of it
    window: SlidingWindow | None = None
    moe: Experts | None = None
    mla: LatentAttention | None = None
    ssm: StateSpace | None = None
    conv_kernel: int | None = None  # of shortconv blocks
    n_embd_per_layer: int | None = None  # per-layer embeddings
    n_layer_shared_kv: int = 0  # last blocks, which read the KV cache of earlier ones
    n_ff_shared_kv: int | None = None  # their feed-forward width; None: n_ff
    n_layer_nextn: int = 0  # blocks for multi-token prediction after the others; not run by default
    n_loop: int = 1  # how often the blocks run one after another, each time with a KV cache of its own

    def __post_init__(self) -> None:
        check(self)


class Layer(msgspec.Struct, frozen=True):
    """One block as it runs. Where it has no attention, heads are 0; where it keeps no state, states are 0."""

    kind: LayerKind
    n_head: int
    n_head_kv: int
    head_dim_k: int
    head_dim_v: int  # 0: the cache holds no values of its own (latent attention)
    window: int | None  # tokens; None: the whole context
    shares_kv: bool  # reads another block's KV cache and has none
    conv_state: int  # elements, F32, per sequence
    recurrent_state: int  # elements, F32, per sequence
    n_ff: int  # width of the plain feed-forward network; 0: none
    n_expert: int
    n_expert_used: int
    n_ff_expert: int  # width of one expert
    n_ff_shared: int  # width of the shared experts together


def letter(arch: Architecture, index: int) -> str:
    """The pattern's letter of block `index`; blocks for multi-token prediction attend to everything."""
    return arch.pattern[index % len(arch.pattern)] if index < arch.n_layer else "a"


@lru_cache(maxsize=1024)
def layers(arch: Architecture) -> tuple[Layer, ...]:
    """The blocks in the order they run, without those for multi-token prediction: the engine skips them."""
    return tuple(layer(arch, index) for index in range(arch.n_layer)) * arch.n_loop


def layer(arch: Architecture, index: int) -> Layer:
    """Block `index`, also one for multi-token prediction (`index` from n_layer on)."""
    code = letter(arch, index)
    plan = plan_of(arch.name)
    heads = _heads(arch, code) if code in _ATTENTION else (0, 0, 0, 0)
    conv_state, recurrent_state = _states(arch, code) if code in _RECURRENT else (0, 0)
    shares_kv = arch.n_layer - arch.n_layer_shared_kv <= index < arch.n_layer
    n_ff = (arch.n_ff_shared_kv if shares_kv else None) or arch.n_ff
    feeds = code == "f" or not plan.one_thing_a_block
    moe = arch.moe if arch.moe and feeds and index >= arch.moe.n_dense_lead else None
    dense = feeds and (moe is None or plan.beside_experts)
    return Layer(
        kind=KINDS[code],
        n_head=heads[0],
        n_head_kv=heads[1],
        head_dim_k=heads[2],
        head_dim_v=heads[3],
        window=arch.window.size if arch.window and code == "s" else None,
        shares_kv=shares_kv,
        conv_state=conv_state,
        recurrent_state=recurrent_state,
        n_ff=n_ff if dense else 0,
        n_expert=moe.n_expert if moe else 0,
        n_expert_used=moe.n_expert_used if moe else 0,
        n_ff_expert=(moe.n_ff or arch.n_ff) if moe else 0,
        n_ff_shared=shared_width(arch) if moe else 0,
    )


def shared_width(arch: Architecture) -> int:
    """Width of the shared experts of a block together."""
    moe = arch.moe
    if moe is None:
        return 0
    return moe.n_ff_shared if moe.n_ff_shared is not None else moe.n_shared * (moe.n_ff or arch.n_ff)


def _heads(arch: Architecture, code: str) -> tuple[int, int, int, int]:
    """Heads, KV heads, size of a key and of a value, as the KV cache holds them."""
    if arch.mla and arch.name not in DECOMPRESSED_MLA:
        return arch.n_head, 1, arch.mla.kv_rank + arch.mla.rope_dim, 0
    window = arch.window if code == "s" else None
    head_dim = (window and window.head_dim) or arch.head_dim
    return (
        (window and window.n_head) or arch.n_head,
        (window and window.n_head_kv) or arch.n_head_kv,
        head_dim,
        arch.head_dim_v or head_dim,
    )


# Latent attention whose keys and values are decompressed before they are cached.
DECOMPRESSED_MLA = frozenset({"minicpm3"})


def _states(arch: Architecture, code: str) -> tuple[int, int]:
    """Elements of convolution and recurrent state (llama.cpp, llama-hparams.cpp, n_embd_r, n_embd_s)."""
    if code == "c":
        return arch.n_embd * ((arch.conv_kernel or 1) - 1), 0
    ssm = arch.ssm
    if ssm is None:
        return 0, 0
    return (ssm.conv - 1) * ssm.conv_width, ssm.state * ssm.inner


def shortest_pattern(blocks: str) -> str:
    """The shortest pattern that gives these blocks when it is repeated: "sssasssa" -> "sssa"."""
    return next(
        blocks[:n] for n in range(1, len(blocks) + 1) if (blocks[:n] * len(blocks))[: len(blocks)] == blocks
    )


def check(arch: Architecture) -> None:
    """Raise InvalidModelError, naming the field, if a dimension is nonsense."""
    for field, limit in _LIMITS.items():
        value = getattr(arch, field)
        if value is not None and not (1 if field in _POSITIVE else 0) <= value <= limit:
            raise InvalidModelError(f"{arch.name}: {field} = {value} is out of range (at most {limit:,})")
    if unknown := set(arch.pattern) - set(KINDS) or not arch.pattern:
        raise InvalidModelError(f"{arch.name}: pattern {arch.pattern!r} has unknown letters {unknown}")
    needs = (("s", "window"), ("m", "ssm"), ("d", "ssm"), ("k", "ssm"), ("p", "ssm"), ("c", "conv_kernel"))
    for code, field in needs:
        if code in arch.pattern and getattr(arch, field) is None:
            raise InvalidModelError(f"{arch.name}: pattern {arch.pattern!r} needs {field}")


# Larger than any published model by a factor of ten or more; they bound what a hostile file can make us
# compute.
_LIMITS = {
    "n_layer": 1024,
    "n_embd": 1 << 18,
    "n_ff": 1 << 22,
    "n_head": 1 << 14,
    "n_head_kv": 1 << 14,
    "head_dim": 1 << 16,
    "n_vocab": 1 << 24,
    "context_length": 1 << 32,
    "n_layer_nextn": 64,
    "n_layer_shared_kv": 1024,
    "n_loop": 64,
}
_POSITIVE = frozenset({"n_layer", "n_embd", "n_head", "head_dim", "n_vocab", "context_length", "n_loop"})
