"""What a GPTQ checkpoint holds: derived from its source before it is built, and checked on the files afterwards.

Every weight matrix inside a block becomes integers, zero points, scales and an index of groups
(`quantize.gptq_worker.packed` says how); embeddings, norms and the output head stay, with 16 bits. Sizes are exact.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from quantize.errors import GptqError, UnexpectedTensorsError
from quantize.gptq_recipe import GROUP_SIZES, WHOLE_ROW, GptqRecipe
from quantize.json_file import read_json
from quantize.safetensors_header import SafetensorsTensor, Weights

WORD = 32  # bits of the integers that the weights are packed into

# A block's number stands in the name: "model.layers.0.mlp.up_proj.weight", "gpt_neox.layers.3.attention.dense.weight".
_MATRIX = re.compile(r"(.*\.\d+\.(?:.*\.)?(\w+))\.weight")
_EXPERTS = re.compile(r"\.\d+\..*(?:experts?|block_sparse_moe)\.")
_FLOATS = frozenset({"F32", "F16", "BF16"})


class Shape(msgspec.Struct, frozen=True):
    """A tensor's type and shape, rows first."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * (4 if self.dtype == "I32" else 2)


def rest_dtype(weights: Weights) -> Literal["F16", "BF16"]:
    """What stays unquantized keeps the range of its source; 32-bit weights become float16, what vLLM reads anywhere."""
    return "BF16" if weights.dtype == "BF16" else "F16"


def vocabulary_of(weights: Weights) -> int:
    """How many tokens the model knows, or more: the rows of its longest tensor, which is the embedding."""
    return max(tensor.shape[0] for tensor in weights.tensors if tensor.shape)


def matrices(weights: Weights) -> dict[str, SafetensorsTensor]:
    """The weights that GPTQ rounds, by the name of their module: the matrices inside blocks."""
    found = {}
    for tensor in weights.tensors:
        match = _MATRIX.fullmatch(tensor.name)
        if match is not None and len(tensor.shape) == 2 and "norm" not in match[2]:
            found[match[1]] = tensor
    return found


def check_source(folder: Path, weights: Weights, recipe: GptqRecipe) -> None:
    """Raises GptqError for weights that GPTQ, or the format, cannot take."""
    if other := sorted({tensor.dtype for tensor in weights.tensors} - _FLOATS):
        raise GptqError(
            f"{folder} is not full precision: it holds {', '.join(other)}; GPTQ starts from F32, F16 or BF16"
        )
    if any(_EXPERTS.search(tensor.name) for tensor in weights.tensors):
        raise GptqError(
            f"{folder} is a mixture of experts, for which GPTQ is not offered: take a GGUF quantization"
        )
    found = matrices(weights)
    if not found:
        raise GptqError(
            f"{folder} has no weight matrices in numbered blocks: GPTQ does not know this architecture"
        )
    for name, tensor in found.items():
        rows, columns = tensor.shape
        if columns % WORD or rows % WORD:
            raise GptqError(f"{name} has {rows} x {columns} weights; GPTQ packs multiples of {WORD} only")
    widths = {tensor.shape[1] for tensor in found.values()}
    if recipe.group_size != WHOLE_ROW and any(width % recipe.group_size for width in widths):
        name, width = next((n, t.shape[1]) for n, t in found.items() if t.shape[1] % recipe.group_size)
        fitting = [
            str(msgspec.structs.replace(recipe, group_size=size))
            for size in GROUP_SIZES
            if size == WHOLE_ROW or not any(width % size for width in widths)
        ]
        raise GptqError(
            f"{name} has rows of {width} weights, no multiple of {recipe.group_size}; this model can be "
            f"{', '.join(fitting)}"
        )


def expected_tensors(
    weights: Weights, recipe: GptqRecipe, modules: Iterable[str], *, tied: bool
) -> dict[str, Shape]:
    """Every tensor of the checkpoint with `modules` quantized. `tied`: the output head is the embedding, kept once."""
    sources = {tensor.name: tensor for tensor in weights.tensors}
    rest = rest_dtype(weights)
    result: dict[str, Shape] = {}
    whole = dict(sources)
    for module in modules:
        tensor = whole.pop(f"{module}.weight", None)
        if tensor is None or len(tensor.shape) != 2:
            raise GptqError(f"{module} was quantized, and the source has no such matrix")
        result |= {f"{module}.{part}": shape for part, shape in packed_shapes(tensor.shape, recipe).items()}
        # GPTQModel keeps the biases of what it packed beside the scales, in their type.
        if bias := whole.pop(f"{module}.bias", None):
            result[bias.name] = Shape("F16", bias.shape)
    for tensor in whole.values():
        if not (tied and tensor.name == "lm_head.weight"):
            result[tensor.name] = Shape(rest, tensor.shape)
    return result


def packed_shapes(shape: tuple[int, ...], recipe: GptqRecipe) -> dict[str, Shape]:
    """The tensors that stand for a matrix of `shape`."""
    rows, columns = shape
    groups = recipe.groups(columns)
    return {
        "qweight": Shape("I32", (columns * recipe.bits // WORD, rows)),
        "qzeros": Shape("I32", (groups, rows * recipe.bits // WORD)),
        "scales": Shape("F16", (groups, rows)),
        "g_idx": Shape("I32", (columns,)),
    }


def total_bytes(tensors: Iterable[Shape]) -> int:
    return sum(tensor.bytes for tensor in tensors)


def check_checkpoint(folder: Path, built: Weights, expected: Mapping[str, Shape], recipe: GptqRecipe) -> None:
    """Raises UnexpectedTensorsError unless `folder` holds what was ordered, in the format of auto-gptq."""
    found = {tensor.name: Shape(tensor.dtype, tensor.shape) for tensor in built.tensors}
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise UnexpectedTensorsError(
                f"{folder} is not what was ordered: {name} should be {_worded(expected.get(name))} and is "
                f"{_worded(found.get(name))}"
            )
    config = read_json(folder / "config.json").get("quantization_config")
    if config != read_json(folder / "quantize_config.json"):
        raise UnexpectedTensorsError(
            f"{folder}: config.json and quantize_config.json describe different quantizations"
        )
    ordered = {
        "quant_method": "gptq",
        "checkpoint_format": "gptq",
        "bits": recipe.bits,
        "group_size": recipe.group_size,
        "desc_act": recipe.act_order,
        "sym": True,
        "lm_head": False,
        "pack_dtype": "int32",
    }
    for key, value in ordered.items():
        if config.get(key) != value:
            raise UnexpectedTensorsError(f"{folder} says {key} is {config.get(key)!r}; {value!r} was ordered")


def _worded(shape: Shape | None) -> str:
    return "absent" if shape is None else f"{shape.dtype} {' x '.join(map(str, shape.shape))}"
