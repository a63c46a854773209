"""An architecture from the metadata of a GGUF and the shapes of its tensors.

Metadata is read the way the engine reads it (src/llama-model.cpp, load_hparams; src/models/*.cpp): the same
keys, the same defaults. What comes out is proven by the file itself: its tensors must be exactly those of the
architecture, or it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quantize.architectures.dimensions import (
    DECOMPRESSED_MLA,
    Architecture,
    Experts,
    LatentAttention,
    SlidingWindow,
    StateSpace,
    shortest_pattern,
)
from quantize.architectures.plans import OPTIONS, Plan, plan_of
from quantize.architectures.tensors import tensors
from quantize.errors import InvalidModelError, UnknownArchitectureError

Shapes = Mapping[str, tuple[int, ...]]

# EXAONE 4: only the model with this many blocks has a window.
_WINDOW_AT_LAYERS = {"exaone4": 64}


def from_gguf_metadata(metadata: Mapping[str, object], shapes: Shapes) -> Architecture:
    """The architecture of a GGUF with this metadata and tensors of these shapes (in ggml's order).

    Raises UnknownArchitectureError where the architecture or a form of its tensors is not known here, and
    InvalidModelError where metadata is missing or nonsense; the message names the key or the tensor.
    """
    name = metadata.get("general.architecture")
    if not isinstance(name, str):
        raise InvalidModelError("the metadata does not name an architecture (general.architecture)")
    plan = plan_of(name)
    keys = _Keys(name, metadata)
    n_layer = keys.number("block_count", most=1024) - keys.number("nextn_predict_layers", 0)
    if n_layer < 1:
        raise InvalidModelError(f"{name}.block_count leaves no blocks besides those for prediction")
    pattern = _pattern(keys, plan, n_layer)
    arch = Architecture(
        name=name,
        n_layer=n_layer,
        n_embd=keys.number("embedding_length"),
        n_vocab=_vocabulary(keys, shapes),
        context_length=keys.number("context_length"),
        tied="output.weight" not in shapes,
        pattern=shortest_pattern(pattern),
        optional=tuple(option for option in plan.options if _has(option, pattern, shapes)),
        **_attention(keys, pattern),
        **_feed_forward(keys, plan, pattern, shapes),
        **_mixers(keys, plan),
        n_layer_shared_kv=keys.number("attention.shared_kv_layers", 0),
        n_embd_per_layer=keys.number("embedding_length_per_layer_input", 0) or None,
        n_layer_nextn=keys.number("nextn_predict_layers", 0),
        n_loop=keys.number("num_loops", 1),
    )
    _prove(arch, shapes)
    return arch


def _attention(keys: _Keys, pattern: str) -> dict[str, Any]:
    """Heads and their sizes, of blocks over the whole context and of those with a window."""
    heads = keys.per_block("attention.head_count", len(pattern))
    kv_heads = keys.per_block("attention.head_count_kv", len(pattern), default=heads)
    whole = "s" if set(pattern) == {"s"} else "ap"
    n_head = _common(heads, pattern, whole) or max(heads, default=0)
    if not n_head:
        raise InvalidModelError(f"{keys.name}.attention.head_count is 0 in every block")
    usual = keys.number("embedding_length") // n_head
    if keys.has("attention.key_length_mla"):
        # What the cache holds is under key_length; a head's own size is here.
        head_dim = keys.number("attention.key_length_mla")
        return {"n_head": n_head, "n_head_kv": 1, "head_dim": head_dim}
    head_dim = keys.number("attention.key_length", usual)
    head_dim_v = keys.number("attention.value_length", usual)
    n_rot = keys.number("rope.dimension_count", head_dim)
    n_head_kv = _common(kv_heads, pattern, whole)
    fields: dict[str, Any] = {
        "n_head": n_head,
        "n_head_kv": n_head_kv,
        "head_dim": head_dim,
        "head_dim_v": _unless(head_dim_v, head_dim),
        "n_rot": _unless(n_rot, head_dim),
    }
    if "s" in pattern:
        window_dim = keys.number("attention.key_length_swa", head_dim)
        window_rot = keys.number("rope.dimension_count_swa", n_rot)
        fields["window"] = SlidingWindow(
            size=keys.number("attention.sliding_window", 4096),
            n_head=_unless(_common(heads, pattern, "s"), n_head),
            n_head_kv=_unless(_common(kv_heads, pattern, "s"), n_head_kv),
            head_dim=_unless(window_dim, head_dim),
            n_rot=_unless(window_rot, n_rot if window_dim == head_dim else window_dim),
        )
    return fields


def _feed_forward(keys: _Keys, plan: Plan, pattern: str, shapes: Shapes) -> dict[str, Any]:
    """Widths of feed-forward networks and experts."""
    widths = keys.per_block("feed_forward_length", len(pattern), default=[0] * len(pattern))
    shared_kv = keys.number("attention.shared_kv_layers", 0)
    fields: dict[str, Any] = {}
    if 0 < shared_kv < len(widths) and widths[-1] != widths[0]:
        fields["n_ff_shared_kv"] = widths[-1]
        widths = widths[: len(widths) - shared_kv]
    fields["n_ff"] = _common(widths, pattern, "f" if plan.one_thing_a_block else "asmdkcp")
    if n_expert := keys.number("expert_count", 0):
        down = [shape for name, shape in shapes.items() if name.endswith(".ffn_down_shexp.weight")]
        n_ff = keys.per_block("expert_feed_forward_length", len(pattern), default=[0] * len(pattern))
        fields["moe"] = Experts(
            n_expert=n_expert,
            n_expert_used=max(keys.per_block("expert_used_count", len(pattern))),
            n_ff=(max(n_ff) or None) if plan.experts_ff_key else None,
            n_shared=keys.number("expert_shared_count", 0),
            n_ff_shared=down[0][0] if down else 0,
            n_dense_lead=keys.number("leading_dense_block_count", 0),
        )
    return fields


def _mixers(keys: _Keys, plan: Plan) -> dict[str, Any]:
    """Latent attention and what blocks with a state need."""
    fields: dict[str, Any] = {}
    if keys.has("attention.kv_lora_rank"):
        decompressed = keys.name in DECOMPRESSED_MLA
        suffix = "" if decompressed else "_mla"
        rope_dim = keys.number("rope.dimension_count")
        # The converter leaves the value's size out where it is what the engine takes by itself.
        usual = (
            keys.number("embedding_length") // keys.number("attention.head_count") if decompressed else None
        )
        fields["mla"] = LatentAttention(
            kv_rank=keys.number("attention.kv_lora_rank"),
            rope_dim=rope_dim,
            nope_dim=keys.number(f"attention.key_length{suffix}") - rope_dim,
            value_dim=keys.number(f"attention.value_length{suffix}", usual),
            q_rank=keys.number("attention.q_lora_rank", 0) or None,
        )
    if set("mdkp") & set(plan.blocks):
        fields["ssm"] = StateSpace(
            inner=keys.number("ssm.inner_size", 0),
            state=keys.number("ssm.state_size", 0),
            n_head=keys.number("ssm.time_step_rank", 0),
            n_group=keys.number("ssm.group_count", 0),
            conv=keys.number("ssm.conv_kernel"),
        )
    if "c" in plan.blocks:
        fields["conv_kernel"] = keys.number("shortconv.l_cache")
    return fields


def _pattern(keys: _Keys, plan: Plan, n_layer: int) -> str:
    """A letter for each block, as the engine decides what a block is."""
    if "p" in plan.blocks:
        return "p" * n_layer
    if "d" in plan.blocks:
        every = keys.number("full_attention_interval", 4) or n_layer + 1
        usual = [int((i + 1) % every != 0) for i in range(n_layer)]
        recurrent = keys.per_block("attention.recurrent_layers", n_layer, default=usual)
        return "".join("d" if flag else "a" for flag in recurrent)
    if state := next((code for code in "mkc" if code in plan.blocks), None):
        kv_heads = keys.per_block("attention.head_count_kv", n_layer)
        widths = keys.per_block("feed_forward_length", n_layer, default=[0] * n_layer)
        fed = [plan.one_thing_a_block and width > 0 for width in widths]
        return "".join("f" if fed[i] else "a" if kv_heads[i] else state for i in range(n_layer))
    return _windows(keys, plan, n_layer)


def _windows(keys: _Keys, plan: Plan, n_layer: int) -> str:
    usual = plan.window_pattern
    # Gemma 2 has a window even where the file does not give its size.
    size = keys.number("attention.sliding_window", 4096 if keys.name == "gemma2" else 0)
    if usual is None or not size or _WINDOW_AT_LAYERS.get(keys.name, n_layer) != n_layer:
        return "a" * n_layer
    key = "attention.sliding_window_pattern"
    if not keys.is_array(key):
        if period := keys.number(key, 0):
            usual = "a" + "s" * (period - 1) if usual[0] == "a" else "s" * (period - 1) + "a"
        return (usual * n_layer)[:n_layer]
    return "".join("s" if flag else "a" for flag in keys.per_block(key, n_layer))


def _vocabulary(keys: _Keys, shapes: Shapes) -> int:
    embedding = shapes.get("token_embd.weight", ())
    return embedding[1] if len(embedding) == 2 else keys.number("vocab_size")


def _has(option: str, pattern: str, shapes: Shapes) -> bool:
    """Whether the file has tensors of this option, outside the blocks or in any block it can be in."""
    first = next(iter(OPTIONS[option].tensors))
    anywhere = OPTIONS[option].where != "full attention"
    blocks = (index for index, code in enumerate(pattern) if anywhere or code == "a")
    return first in shapes or any(f"blk.{index}.{first}" in shapes for index in blocks)


def _prove(arch: Architecture, shapes: Shapes) -> None:
    """Raise UnknownArchitectureError if the file's tensors are not those of `arch`.

    Blocks for multi-token prediction are left out: they do not run, and come in several forms.
    """
    extra = tuple(f"blk.{index}." for index in range(arch.n_layer, arch.n_layer + arch.n_layer_nextn))
    wanted = {t.name: t.shape for t in tensors(arch) if not t.name.startswith(extra or "\0")}
    found = {name: shape for name, shape in shapes.items() if not name.startswith(extra or "\0")}
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            raise UnknownArchitectureError(f"{arch.name}: the file lacks the tensor {name}")
        if name not in wanted:
            raise UnknownArchitectureError(f"{arch.name}: the file has the unknown tensor {name}")
        if _trimmed(wanted[name]) != _trimmed(found[name]):
            raise UnknownArchitectureError(
                f"{arch.name}: the tensor {name} has the shape {found[name]}; "
                f"by the metadata it should be {wanted[name]}"
            )


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without dimensions of 1 at the end, which ggml does not tell apart."""
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _common(values: Sequence[int], pattern: str, codes: str) -> int:
    """The value that all blocks with these letters have; 0 if there are none."""
    found = {value for value, code in zip(values, pattern, strict=False) if code in codes}
    if len(found) > 1:
        raise UnknownArchitectureError(f"blocks of one kind differ ({sorted(found)}): not described here")
    return found.pop() if found else 0


def _unless(value: int, usual: int) -> int | None:
    return None if value == usual else value


class _Keys:
    """The metadata of one architecture, with numbers that are numbers."""

    def __init__(self, name: str, metadata: Mapping[str, object]) -> None:
        self.name = name
        self._metadata = metadata

    def has(self, key: str) -> bool:
        return f"{self.name}.{key}" in self._metadata

    def is_array(self, key: str) -> bool:
        return isinstance(self._metadata.get(f"{self.name}.{key}"), Sequence)

    def number(self, key: str, default: int | None = None, *, most: int = 1 << 32) -> int:
        value = self._metadata.get(f"{self.name}.{key}", default)
        if value is None:
            raise InvalidModelError(f"the metadata lacks {self.name}.{key}")
        return self._checked(key, value, most)

    def per_block(self, key: str, n_layer: int, default: int | Sequence[int] | None = None) -> list[int]:
        """A value for each block: an array in the file, or one number for all."""
        value = self._metadata.get(f"{self.name}.{key}", default)
        if value is None:
            raise InvalidModelError(f"the metadata lacks {self.name}.{key}")
        if not isinstance(value, Sequence) or isinstance(value, str):
            return [self._checked(key, value, 1 << 32)] * n_layer
        if len(value) < n_layer:
            raise InvalidModelError(f"{self.name}.{key} has {len(value)} values for {n_layer} blocks")
        return [self._checked(key, item, 1 << 32) for item in value[:n_layer]]

    def _checked(self, key: str, value: object, most: int) -> int:
        if not isinstance(value, int) or not 0 <= value <= most:
            raise InvalidModelError(f"{self.name}.{key} is {value!r} and not a usable number")
        return int(value)
