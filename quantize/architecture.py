"""What a model is made of: its dimensions, its tensors, its blocks as the engine runs them.

    arch = Architecture(name="llama", n_layer=16, n_embd=2048, ...)
    parameter_count(arch)   # exactly as published
    tensors(arch)           # every tensor of its GGUF: name, shape, type
    layers(arch)            # every block: heads, window, states
    gguf_metadata(arch)     # what the engine needs to load it

An architecture comes from the catalog, from a GGUF (`from_gguf_metadata`) or from a config.json of the Hub
(`from_hf_config`). What is not known is refused, never approximated.
"""

from __future__ import annotations

from quantize.architectures.dimensions import (
    Architecture,
    Experts,
    LatentAttention,
    Layer,
    SlidingWindow,
    StateSpace,
    layers,
)
from quantize.architectures.from_config import from_hf_config
from quantize.architectures.from_gguf import from_gguf_metadata
from quantize.architectures.metadata import gguf_metadata
from quantize.architectures.tensors import Tensor, active_parameter_count, parameter_count, tensors

__all__ = [
    "Architecture",
    "Experts",
    "LatentAttention",
    "Layer",
    "SlidingWindow",
    "StateSpace",
    "Tensor",
    "active_parameter_count",
    "from_gguf_metadata",
    "from_hf_config",
    "gguf_metadata",
    "layers",
    "parameter_count",
    "tensors",
]
