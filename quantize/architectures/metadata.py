"""An architecture as the metadata of a GGUF: what the engine needs to load it, and the way back.

Keys and which of them the engine requires: `load_hparams` in src/llama-model.cpp and `load_arch_hparams` of each
src/models/*.cpp, llama.cpp of llama-cpp-python 0.3.36. Values that are no dimensions (epsilons, scales) do not
change what a model needs; where the engine insists on one, a usual value stands in `_CONSTANTS`.
"""

from __future__ import annotations

from collections.abc import Sequence

from quantize.architectures.dimensions import Architecture, layer
from quantize.architectures.plans import plan_of

Value = int | float | bool | str | Sequence[int] | Sequence[float] | Sequence[bool]

_RMS = {"attention.layer_norm_rms_epsilon": 1e-5}
_LAYER_NORM = {"attention.layer_norm_epsilon": 1e-5}
_GRANITE = {"logit_scale": 8.0, "residual_scale": 0.22, "embedding_scale": 12.0, "attention.scale": 0.015625}
_SIGMOID = {"expert_gating_func": 2}

_CONSTANTS: dict[str, dict[str, int | float | bool | Sequence[int]]] = {
    "granite": _GRANITE,
    "granitemoe": _GRANITE,
    "granitehybrid": _GRANITE,
    "gptneox": {"use_parallel_residual": True},
    "command-r": {"logit_scale": 0.0625},
    "cohere2": {"logit_scale": 0.25},
    "qwen3vl": {"rope.dimension_sections": (24, 20, 20, 0)},
    "apertus": {},
}
_LAYER_NORM_MODELS = frozenset({"gptneox", "phi2", "starcoder2", "stablelm", "command-r", "cohere2"})


def gguf_metadata(arch: Architecture) -> dict[str, Value]:
    """The metadata of a GGUF of `arch`, tokenizer not included. Raises UnknownArchitectureError."""
    plan = plan_of(arch.name)
    keys: dict[str, Value] = {
        "context_length": arch.context_length,
        "embedding_length": arch.n_embd,
        "block_count": arch.n_layer + arch.n_layer_nextn,
        "feed_forward_length": _per_layer(arch, "n_ff")
        if plan.one_thing_a_block or arch.n_ff_shared_kv
        else arch.n_ff,
        "attention.head_count": _per_layer(arch, "n_head")
        if arch.window and arch.window.n_head
        else arch.n_head,
        "attention.head_count_kv": _head_count_kv(arch),
        "attention.key_length": arch.head_dim,
        "attention.value_length": arch.head_dim_v or arch.head_dim,
        "rope.dimension_count": arch.n_rot or arch.head_dim,
        "vocab_size": arch.n_vocab,
    }
    keys |= _LAYER_NORM if arch.name in _LAYER_NORM_MODELS else _RMS
    keys |= _window_keys(arch) | _moe_keys(arch)
    keys |= _CONSTANTS.get(arch.name, {})
    return {"general.architecture": arch.name} | {f"{arch.name}.{key}": value for key, value in keys.items()}


def _per_layer(arch: Architecture, field: str) -> list[int]:
    """A field of `Layer` for each block in the file."""
    return [getattr(layer(arch, index), field) for index in range(arch.n_layer + arch.n_layer_nextn)]


def _head_count_kv(arch: Architecture) -> Value:
    counts = _per_layer(arch, "n_head_kv")
    return counts if len(set(counts)) > 1 else counts[0]


def _window_keys(arch: Architecture) -> dict[str, Value]:
    if arch.window is None:
        return {}
    keys: dict[str, Value] = {"attention.sliding_window": arch.window.size}
    windows = _per_layer(arch, "window")
    keys["attention.sliding_window_pattern"] = [window is not None for window in windows]
    if arch.window.head_dim:
        keys["attention.key_length_swa"] = keys["attention.value_length_swa"] = arch.window.head_dim
    if arch.window.n_rot or arch.window.head_dim:
        keys["rope.dimension_count_swa"] = arch.window.n_rot or arch.window.head_dim or 0
    return keys


def _moe_keys(arch: Architecture) -> dict[str, Value]:
    if arch.moe is None:
        return {}
    return {}
