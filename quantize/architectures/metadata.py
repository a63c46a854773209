"""An architecture as the metadata of a GGUF: what the engine needs to load it, and the way back.

Keys and which of them the engine requires: `load_hparams` in src/llama-model.cpp and `load_arch_hparams` of
each src/models/*.cpp, llama.cpp of llama-cpp-python 0.3.36. Values that are no dimensions (epsilons,
scales) do not change what a model needs; where the engine insists on one, a usual value stands in
`_CONSTANTS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quantize.architectures.dimensions import DECOMPRESSED_MLA, Architecture, layer, shared_width
from quantize.architectures.plans import plan_of

Value = int | float | bool | str | Sequence[int] | Sequence[float] | Sequence[bool]

_RMS: dict[str, Value] = {"attention.layer_norm_rms_epsilon": 1e-5}
_LAYER_NORM: dict[str, Value] = {"attention.layer_norm_epsilon": 1e-5}
_GRANITE: dict[str, Value] = {
    "logit_scale": 8.0,
    "residual_scale": 0.22,
    "embedding_scale": 12.0,
    "attention.scale": 0.015625,
}
_SIGMOID: dict[str, Value] = {"expert_gating_func": 2}

_CONSTANTS: dict[str, dict[str, Value]] = {
    "gptneox": _LAYER_NORM | {"use_parallel_residual": True},
    "phi2": _LAYER_NORM,
    "starcoder2": _LAYER_NORM,
    "stablelm": _LAYER_NORM,
    "command-r": _LAYER_NORM | {"logit_scale": 0.0625},
    "cohere2": _LAYER_NORM | {"logit_scale": 0.25},
    "cohere2moe": _LAYER_NORM | {"logit_scale": 0.25} | _SIGMOID,
    "granite": _GRANITE,
    "granite_swa": _GRANITE,
    "granitemoe": _GRANITE,
    "granitehybrid": _GRANITE,
    "nemotron_h": _LAYER_NORM,
    "nemotron_h_moe": _LAYER_NORM,
    "muse-glimmer": {"logit_scale": 1.0},
    "lfm2moe": _SIGMOID,
    "afmoe": _SIGMOID,
    "bailingmoe2": _SIGMOID,
    "bailingmoe3": _SIGMOID | {"kda.gate_lower_bound": -5.0},
    "ernie4_5-moe": {"interleave_moe_layer_step": 1},
    "qwen3vl": {"rope.dimension_sections": (24, 20, 20, 0)},
    "qwen35": {"rope.dimension_sections": (11, 11, 10, 0)},
    "qwen35moe": {"rope.dimension_sections": (11, 11, 10, 0)},
}


def gguf_metadata(arch: Architecture) -> dict[str, Value]:
    """The metadata of a GGUF of `arch`, tokenizer not included. Raises UnknownArchitectureError."""
    keys: dict[str, Value] = {
        "context_length": arch.context_length,
        "embedding_length": arch.n_embd,
        "block_count": arch.n_layer + arch.n_layer_nextn,
        "feed_forward_length": _feed_forward_length(arch),
        "attention.head_count": _head_count(arch),
        "attention.head_count_kv": _head_count_kv(arch),
        "attention.key_length": arch.head_dim,
        "attention.value_length": arch.head_dim_v or arch.head_dim,
        "rope.dimension_count": arch.n_rot or arch.head_dim,
        "vocab_size": arch.n_vocab,
        **_RMS,
    }
    for group in (_window_keys, _moe_keys, _mla_keys, _state_keys, _other_keys):
        keys |= group(arch)
    keys |= _CONSTANTS.get(arch.name, {})
    xielu: dict[str, Value] = {
        "xielu.alpha_n": 0.8,
        "xielu.alpha_p": 0.8,
        "xielu.beta": 0.5,
        "xielu.eps": -1e-6,
    }
    return (
        {"general.architecture": arch.name}
        | {f"{arch.name}.{key}": value for key, value in keys.items()}
        | (xielu if arch.name == "apertus" else {})
    )


def _per_layer(arch: Architecture, field: str) -> list[Any]:
    """A field of `Layer` for each block in the file, blocks for multi-token prediction included."""
    return [getattr(layer(arch, index), field) for index in range(arch.n_layer + arch.n_layer_nextn)]


def _same(values: list[int]) -> Value:
    """One number where all blocks agree, as the converter writes it."""
    return values[0] if len(set(values)) == 1 else values


def _feed_forward_length(arch: Architecture) -> Value:
    if plan_of(arch.name).one_thing_a_block:
        units = [layer(arch, index) for index in range(arch.n_layer + arch.n_layer_nextn)]
        return [unit.n_ff or unit.n_ff_expert for unit in units]
    if arch.n_ff_shared_kv:
        return _per_layer(arch, "n_ff")
    return arch.n_ff


def _head_count(arch: Architecture) -> Value:
    """Of blocks without attention the converter writes the model's number, for PLaMo 2 a zero."""
    heads = _per_layer(arch, "n_head")
    return _same(heads if arch.name == "plamo2" else [count or arch.n_head for count in heads])


def _head_count_kv(arch: Architecture) -> Value:
    """0 says that a block keeps a state instead, except where a key of its own says so (delta-net)."""
    heads = _per_layer(arch, "n_head_kv")
    return _same([count or arch.n_head_kv for count in heads] if "d" in arch.pattern else heads)


def _window_keys(arch: Architecture) -> dict[str, Value]:
    if arch.window is None:
        return {}
    keys: dict[str, Value] = {
        "attention.sliding_window": arch.window.size,
        "attention.sliding_window_pattern": [size is not None for size in _per_layer(arch, "window")],
    }
    if arch.window.head_dim:
        keys["attention.key_length_swa"] = arch.window.head_dim
        keys["attention.value_length_swa"] = arch.window.head_dim
    if n_rot := arch.window.n_rot or arch.window.head_dim:
        keys["rope.dimension_count_swa"] = n_rot
    return keys


def _moe_keys(arch: Architecture) -> dict[str, Value]:
    if arch.moe is None:
        return {}
    keys: dict[str, Value] = {"expert_count": arch.moe.n_expert, "expert_used_count": arch.moe.n_expert_used}
    if plan_of(arch.name).experts_ff_key:
        keys["expert_feed_forward_length"] = arch.moe.n_ff or arch.n_ff
    if arch.moe.n_shared:
        keys["expert_shared_count"] = arch.moe.n_shared
    if shared_width(arch):
        keys["expert_shared_feed_forward_length"] = shared_width(arch)
    if arch.moe.n_dense_lead:
        keys["leading_dense_block_count"] = arch.moe.n_dense_lead
    return keys


def _mla_keys(arch: Architecture) -> dict[str, Value]:
    mla = arch.mla
    if mla is None:
        return {}
    keys: dict[str, Value] = {"attention.kv_lora_rank": mla.kv_rank, "rope.dimension_count": mla.rope_dim}
    if mla.q_rank:
        keys["attention.q_lora_rank"] = mla.q_rank
    if arch.name in DECOMPRESSED_MLA:
        return keys
    keys |= {
        "attention.key_length_mla": mla.nope_dim + mla.rope_dim,
        "attention.value_length_mla": mla.value_dim,
        "attention.key_length": mla.kv_rank + mla.rope_dim,
        "attention.value_length": mla.kv_rank,
    }
    if arch.moe is None:
        # The engine wants these of every deepseek2; without experts all blocks count as leading dense ones.
        keys["leading_dense_block_count"] = arch.n_layer
        keys["expert_feed_forward_length"] = arch.n_ff
        keys["expert_shared_count"] = 0
    return keys


def _state_keys(arch: Architecture) -> dict[str, Value]:
    keys: dict[str, Value] = {}
    if ssm := arch.ssm:
        keys = {
            "ssm.conv_kernel": ssm.conv,
            "ssm.inner_size": ssm.inner,
            "ssm.state_size": ssm.state,
            "ssm.time_step_rank": ssm.n_head,
            "ssm.group_count": ssm.n_group,
        }
        if "k" in arch.pattern:
            keys["kda.head_dim"] = ssm.state
    if arch.conv_kernel:
        keys["shortconv.l_cache"] = arch.conv_kernel
    if "d" in arch.pattern:
        kinds = _per_layer(arch, "kind")
        keys["attention.recurrent_layers"] = [kind == "deltanet" for kind in kinds]
    return keys


def _other_keys(arch: Architecture) -> dict[str, Value]:
    keys: dict[str, Value] = {}
    if arch.name in ("gemma3n", "gemma4"):
        keys["embedding_length_per_layer_input"] = arch.n_embd_per_layer or 0
        keys["attention.shared_kv_layers"] = arch.n_layer_shared_kv
    if "rope_factors" in arch.optional:
        keys["rope.scaling.type"] = "longrope"
    if arch.n_layer_nextn:
        keys["nextn_predict_layers"] = arch.n_layer_nextn
    if arch.n_loop > 1:
        keys["num_loops"] = arch.n_loop
    return keys
