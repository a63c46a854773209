"""GPTQ recipes: how many bits, in groups of how many weights, in which order.

    parse_gptq("GPTQ-4bit-128g")            # 4 bits, a scale for every 128 weights of a row
    parse_gptq("GPTQ-8bit-32g-actorder")    # columns with large activations first
    parse_gptq("GPTQ-4bit")                 # one scale a row, "group size -1"

GPTQ (https://arxiv.org/abs/2210.17323) rounds the columns of a weight matrix one after the other and corrects the
columns to come for the error made. `act_order` takes the columns in the order of their activations; it needs an index
of groups that readers follow, which costs some of them speed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from quantize.errors import UnknownPresetError

BITS = (2, 3, 4, 8)  # what the format of auto-gptq packs
WHOLE_ROW = -1
GROUP_SIZES = (WHOLE_ROW, 16, 32, 64, 128, 256, 512, 1024)  # what GPTQModel's portable kernel reads

# vLLM, model_executor/layers/quantization/auto_gptq.py (TYPE_MAP) and utils/marlin_utils.py, as of 2026.
_VLLM_BITS = (4, 8)
_VLLM_GROUP_SIZES = (WHOLE_ROW, 32, 64, 128)

_SHAPE = re.compile(r"gptq(?:(\d+)bit|int(\d+?))(?:(\d+)g)?(actorder)?")
_EXAMPLES = ("GPTQ-4bit-128g", "GPTQ-8bit-128g", "GPTQ-4bit-32g-actorder")


class GptqRecipe(msgspec.Struct, frozen=True):
    """How to round: `group_size` weights of a row share a scale, all of them where it is -1."""

    bits: int
    group_size: int = 128
    act_order: bool = False

    def __str__(self) -> str:
        group = "" if self.group_size == WHOLE_ROW else f"-{self.group_size}g"
        return f"GPTQ-{self.bits}bit{group}{'-actorder' if self.act_order else ''}"

    def groups(self, row: int) -> int:
        """Into how many groups a row of `row` weights falls, of which it is a multiple."""
        return 1 if self.group_size == WHOLE_ROW else row // self.group_size


def is_gptq(text: str) -> bool:
    """Whether a quantization is meant for `parse_gptq` and not for the engine's presets."""
    return _squeezed(text).startswith("gptq")


def parse_gptq(text: str) -> GptqRecipe:
    """The recipe that any usual spelling means ("gptq_4bit_128g", "GPTQ-Int4"); raises UnknownPresetError."""
    shape = _SHAPE.fullmatch(_squeezed(text))
    if shape is None:
        raise UnknownPresetError(
            f"unknown GPTQ recipe {text!r}; write it like {', '.join(_EXAMPLES)}: "
            f"{_listed(BITS)} bits, then the group size unless one scale a row is meant",
            _EXAMPLES,
        )
    bits = int(shape[1] or shape[2])
    group_size = int(shape[3]) if shape[3] else WHOLE_ROW
    nearest = GptqRecipe(_nearest(bits, BITS), _nearest(group_size, GROUP_SIZES), bool(shape[4]))
    if bits not in BITS:
        raise UnknownPresetError(
            f"{text!r}: GPTQ rounds to {_listed(BITS)} bits, not to {bits}; nearest: {nearest}",
            (str(nearest),),
        )
    if group_size not in GROUP_SIZES:
        sizes = _listed(size for size in GROUP_SIZES if size != WHOLE_ROW)
        raise UnknownPresetError(
            f"{text!r}: a group has {sizes} weights, not {group_size}; nearest: {nearest}", (str(nearest),)
        )
    return GptqRecipe(bits, group_size, bool(shape[4]))


def vllm_objection(recipe: GptqRecipe) -> str | None:
    """Why current releases of vLLM would not load such a checkpoint, or None. Transformers loads all of them."""
    if recipe.bits not in _VLLM_BITS:
        return f"vLLM reads {_listed(_VLLM_BITS)} bits, not {recipe.bits}"
    if recipe.group_size not in _VLLM_GROUP_SIZES:
        sizes = _listed(size for size in _VLLM_GROUP_SIZES if size != WHOLE_ROW)
        return f"vLLM reads groups of {sizes}, not of {recipe.group_size}"
    return None


def _nearest(value: int, allowed: Iterable[int]) -> int:
    return min(allowed, key=lambda choice: abs(choice - value))


def _listed(values: Iterable[int]) -> str:
    *most, last = map(str, values)
    return f"{', '.join(most)} or {last}"


def _squeezed(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
