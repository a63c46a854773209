"""The tensors of a model: what its GGUF holds, by name, shape and type, and how many parameters that is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import msgspec

from quantize.architectures.blocks import BUFFERS, Block
from quantize.architectures.dimensions import Architecture, Layer, layer, letter
from quantize.architectures.plans import OPTIONS, Plan, plan_of
from quantize.errors import InvalidModelError

SourceType = Literal["F16", "F32"]

# Gemma 3n: fixed in the engine (llama-hparams.h) and in all published models.
_N_ALTUP = 4
_LAUREL_RANK = 64

_PER_EXPERT = ("_exps.weight", "_exps.bias")


class Tensor(msgspec.Struct, frozen=True):
    """One tensor of the GGUF, shape in ggml's order (the length of a row first).

    `source_type`: its type in an F16 file as the converter writes it. `counted`: it counts towards the
    parameter count that is published; what the converter computes (rotary frequencies), what only balances
    experts in training and blocks for multi-token prediction do not.
    """

    name: str
    shape: tuple[int, ...]
    source_type: SourceType
    counted: bool = True

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)


@lru_cache(maxsize=64)
def tensors(arch: Architecture) -> tuple[Tensor, ...]:
    """All tensors of a model's GGUF, blocks in order. Raises UnknownArchitectureError, InvalidModelError."""
    plan = plan_of(arch.name)
    if unknown := set(arch.optional) - set(plan.options):
        raise InvalidModelError(
            f"{arch.name}: no such optional tensors: {', '.join(sorted(unknown))}; "
            f"known: {', '.join(plan.options)}"
        )
    if missing := set(arch.pattern) - set(plan.blocks):
        raise InvalidModelError(
            f"{arch.name}: has no blocks {', '.join(sorted(missing))} (pattern {arch.pattern!r})"
        )
    if arch.moe and plan.experts is None:
        raise InvalidModelError(f"{arch.name}: has no experts")
    return tuple(_tensors(arch, plan))


def parameter_count(arch: Architecture) -> int:
    """Parameters as they are published: of the text model, each tensor once."""
    return sum(tensor.n_elements for tensor in tensors(arch) if tensor.counted)


def active_parameter_count(arch: Architecture) -> int:
    """Parameters that one token uses: of stacked experts only those it is routed to."""
    share = (arch.moe.n_expert_used, arch.moe.n_expert) if arch.moe else (1, 1)
    return sum(
        tensor.n_elements * share[0] // share[1] if tensor.name.endswith(_PER_EXPERT) else tensor.n_elements
        for tensor in tensors(arch)
        if tensor.counted
    )


def source_type(name: str, shape: tuple[int, ...]) -> SourceType:
    """A tensor's type in an F16 file by the converter (llama.cpp, conversion/base.py, prepare_tensors)."""
    stays_f32 = (
        len(shape) == 1
        or name.endswith("_norm.weight")
        or not name.endswith(".weight")
        or name.rsplit(".", 2)[-2] in _ALWAYS_F32
    )
    return "F32" if stays_f32 else "F16"


_ALWAYS_F32 = frozenset(
    {
        "ffn_gate_inp",
        "ffn_gate_inp_shexp",
        "ssm_conv1d",
        "ssm_conv1d_q",
        "ssm_conv1d_k",
        "ssm_conv1d_v",
        "conv",  # shortconv.conv
        "altup_correct_coef",
        "altup_predict_coef",
    }
)


def _tensors(arch: Architecture, plan: Plan) -> Iterator[Tensor]:
    # Rotary frequencies are those of a block over the whole context, if there is one.
    whole = dimensions(arch, max(arch.pattern.find("a"), 0))
    yield from _named("", plan.model, whole)
    if not arch.tied:
        yield from _named("", plan.head, whole)
    yield from _optional("", arch, {"model"}, whole)
    for index in range(arch.n_layer + arch.n_layer_nextn):
        yield from _block(arch, plan, index)


def _block(arch: Architecture, plan: Plan, index: int) -> Iterator[Tensor]:
    code = letter(arch, index)
    unit = layer(arch, index)
    dims = dimensions(arch, index)
    prefix = f"blk.{index}."
    trained = index < arch.n_layer
    groups = [plan.blocks[code]]
    places = {"attention", "mamba2"} if unit.kind == "parallel" else {str(unit.kind)}
    if code == "a":
        places.add("full attention")
    if unit.n_ff:
        groups.append(plan.dense)
        places.add("dense")
    if unit.n_expert:
        groups.append(plan.experts or {})
        places.add("experts")
    if not trained:
        groups.append(plan.nextn or {})
    for group in groups:
        yield from _named(prefix, group, dims, trained)
    yield from _optional(prefix, arch, places, dims, trained)


def _optional(
    prefix: str, arch: Architecture, places: set[str], dims: dict[str, int], counted: bool = True
) -> Iterator[Tensor]:
    for name in arch.optional:
        option = OPTIONS[name]
        if option.where in places:
            yield from _named(prefix, option.tensors, dims, counted)


def _named(prefix: str, block: Block, dims: dict[str, int], counted: bool = True) -> Iterator[Tensor]:
    for name, shape in block.items():
        sizes = tuple(dims[dimension] for dimension in shape.split())
        if 0 not in sizes:  # a width of 0 says that a model does without (no shared expert)
            yield Tensor(prefix + name, sizes, source_type(name, sizes), counted and name not in BUFFERS)


def dimensions(arch: Architecture, index: int) -> dict[str, int]:
    """The value of every name that a shape in `blocks.py` may use, for block `index`."""
    unit = layer(arch, index)
    window = arch.window if unit.window else None
    head, n_head, n_head_kv = _projected_heads(arch, unit)
    head_v = arch.head_dim_v or head
    ple = arch.n_embd_per_layer or 0
    dims = {
        "one": 1,
        "embd": arch.n_embd,
        "embd2": 2 * arch.n_embd,
        "embd3": 3 * arch.n_embd,
        "vocab": arch.n_vocab,
        "n_head": n_head,
        "n_head_kv": n_head_kv,
        "head": head,
        "q": n_head * head,
        "q2": 2 * n_head * head,
        "k": n_head_kv * head,
        "v": n_head_kv * head_v,
        "o": n_head * head_v,
        "qkv": n_head * head + n_head_kv * (head + head_v),
        "rot_half": ((window and window.n_rot) or arch.n_rot or head) // 2,
        "ff": unit.n_ff,
        "ff2": 2 * unit.n_ff,
        "ple": ple,
        "ple_all": ple * arch.n_layer,
        "ple_embd": arch.n_embd if ple else 0,
        "altup": _N_ALTUP,
        "altup_others": _N_ALTUP - 1,
        "altup_squared": _N_ALTUP**2,
        "laurel": _LAUREL_RANK,
        "conv": arch.ssm.conv if arch.ssm else arch.conv_kernel or 0,
        "expert": unit.n_expert,
        "ff_exp": unit.n_ff_expert,
        "ff_exp2": 2 * unit.n_ff_expert,
        "ff_shared": unit.n_ff_shared,
    }
    if mla := arch.mla:
        dims |= {
            "kv_rank": mla.kv_rank,
            "kv_rank_rope": mla.kv_rank + mla.rope_dim,
            "q_rank": mla.q_rank or 0,
            "nope": mla.nope_dim,
            "mla_v": mla.value_dim,
            "mla_direct_q": 0 if mla.q_rank else arch.n_head * (mla.nope_dim + mla.rope_dim),
            "mla_q": arch.n_head * (mla.nope_dim + mla.rope_dim),
            "mla_kv": arch.n_head * (mla.nope_dim + mla.value_dim),
            "mla_o": arch.n_head * mla.value_dim,
        }
    if ssm := arch.ssm:
        dims |= {
            "inner": ssm.inner,
            "inner2": 2 * ssm.inner,
            "state": ssm.state,
            "ssm_head": ssm.n_head,
            "group": ssm.n_group,
            "group_width": ssm.inner // ssm.n_group if ssm.n_group else 0,
            "conv_width": ssm.conv_width,
            "ssm_in": ssm.inner + ssm.conv_width + ssm.n_head,
            "dt": max(64, arch.n_embd // 16),
            "dt_bc": max(64, arch.n_embd // 16) + 2 * ssm.state,
        }
    return dims


def _projected_heads(arch: Architecture, unit: Layer) -> tuple[int, int, int]:
    """Size of a head, heads and KV heads as the projections make them; the model's own without attention."""
    if unit.n_head and not arch.mla:
        return unit.head_dim_k, unit.n_head, unit.n_head_kv
    return arch.head_dim, arch.n_head, arch.n_head_kv
