"""Tensor types and presets of the engine, as tables.

A tensor type says how a row of weights is packed: blocks of `block_size` weights in `type_size` bytes. A
preset ("Q4_K_M") is a recipe that gives each tensor its type; which tensor gets which is the engine's
business (`llama_model_quantize`), so a preset here is only its name, its number and whether it needs an
importance matrix.

Sources, all of llama.cpp 0c1e57098, the commit inside llama-cpp-python 0.3.36: block and type sizes from
ggml-common.h and gguf-py/gguf/constants.py, preset numbers from include/llama.h, the importance matrix from
`tensor_requires_imatrix` of src/llama-quant.cpp.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

import msgspec

from quantize.errors import InvalidModelError, UnknownPresetError


class TensorType(msgspec.Struct, frozen=True):
    """One way to pack a row of weights; `id` is the number in a GGUF file."""

    name: str
    id: int
    block_size: int
    type_size: int

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.type_size / self.block_size


class Preset(msgspec.Struct, frozen=True):
    """A quantization recipe of the engine; `ftype` is its llama_ftype number."""

    name: str
    ftype: int
    needs_imatrix: bool = False
    experts_only: bool = False  # made for mixture-of-experts models; others gain nothing from it


# fmt: off
_TYPES = (  # name, id, weights per block, bytes per block
    ("F32",      0,   1,   4), ("F16",      1,   1,   2), ("BF16",    30,   1,   2), ("F64",    28,   1,   8),
    ("I8",      24,   1,   1), ("I16",     25,   1,   2), ("I32",     26,   1,   4), ("I64",    27,   1,   8),
    ("Q4_0",     2,  32,  18), ("Q4_1",     3,  32,  20), ("Q5_0",     6,  32,  22), ("Q5_1",    7,  32,  24),
    ("Q8_0",     8,  32,  34), ("Q8_1",     9,  32,  36), ("Q8_K",    15, 256, 292), ("Q6_K",   14, 256, 210),
    ("Q2_K",    10, 256,  84), ("Q3_K",    11, 256, 110), ("Q4_K",    12, 256, 144), ("Q5_K",   13, 256, 176),
    ("IQ2_XXS", 16, 256,  66), ("IQ2_XS",  17, 256,  74), ("IQ2_S",   22, 256,  82), ("IQ3_XXS", 18, 256, 98),
    ("IQ3_S",   21, 256, 110), ("IQ1_S",   19, 256,  50), ("IQ1_M",   29, 256,  56), ("IQ4_NL", 20,  32,  18),
    ("IQ4_XS",  23, 256, 136), ("TQ1_0",   34, 256,  54), ("TQ2_0",   35, 256,  66), ("MXFP4",  39,  32,  17),
    ("NVFP4",   40,  64,  36), ("Q1_0",    41, 128,  18), ("Q2_0",    42,  64,  18),
)

_PRESETS = (  # name, llama_ftype, needs an importance matrix
    ("F16",     1, False), ("BF16",   32, False), ("Q8_0",     7, False), ("Q6_K",    18, False),
    ("Q5_K_M", 17, False), ("Q5_K_S", 16, False), ("Q4_K_M",  15, False), ("Q4_K_S",  14, False),
    ("Q4_0",    2, False), ("Q4_1",    3, False), ("Q5_0",     8, False), ("Q3_K_L",  13, False),
    ("Q3_K_M", 12, False), ("Q3_K_S", 11, False), ("Q2_K",    10, False), ("IQ4_XS",  30, False),
    ("IQ4_NL", 25, False), ("IQ3_M",  27, False), ("IQ3_S",   26, False), ("IQ3_XXS", 23, True),
    ("IQ2_M",  29, True),  ("IQ2_S",  28, True),  ("IQ2_XS",  20, True),  ("IQ2_XXS", 19, True),
    ("IQ1_M",  31, True),  ("IQ1_S",  24, True),  ("MXFP4",   38, False),
)
# fmt: on

TENSOR_TYPES: dict[str, TensorType] = {row[0]: TensorType(*row) for row in _TYPES}
TENSOR_TYPES_BY_ID: dict[int, TensorType] = {kind.id: kind for kind in TENSOR_TYPES.values()}
PRESETS: dict[str, Preset] = {
    name: Preset(name, ftype, imatrix, experts_only=name == "MXFP4") for name, ftype, imatrix in _PRESETS
}

# What people and files call a preset besides its name, without case and separators.
_ALIASES = {
    "MXFP4MOE": "MXFP4",
    "Q3K": "Q3_K_M",
    "Q4K": "Q4_K_M",
    "Q5K": "Q5_K_M",
    "Q8": "Q8_0",
    "FP16": "F16",
    "FLOAT16": "F16",
    "BFLOAT16": "BF16",
}


def row_bytes(type_name: str, n_elements: int) -> int:
    """Bytes of a row of `n_elements` weights; raises InvalidModelError if blocks do not fit into it."""
    kind = TENSOR_TYPES[type_name]
    blocks, rest = divmod(n_elements, kind.block_size)
    if rest or n_elements < 0:
        raise InvalidModelError(
            f"a row of {n_elements} weights cannot be {type_name}: its blocks hold {kind.block_size} weights"
        )
    return blocks * kind.type_size


def parse_preset(text: str) -> str:
    """The preset that any usual spelling means ("q4_k_m", "MXFP4_MOE"); raises UnknownPresetError."""
    key = _squeezed(text)
    name = _ALIASES.get(key) or next((name for name in PRESETS if _squeezed(name) == key), None)
    if name is None:
        nearest = tuple(get_close_matches(text.upper().replace("-", "_"), PRESETS, n=3, cutoff=0.5))
        hint = f"nearest: {', '.join(nearest)}" if nearest else f"known: {', '.join(PRESETS)}"
        raise UnknownPresetError(f"unknown quantization {text!r}; {hint}", nearest)
    return name


def _squeezed(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", text.upper())
