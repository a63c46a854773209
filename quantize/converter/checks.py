"""Hold a converted file against the weights it came from, so that a tensor that was dropped or bent is found."""

from __future__ import annotations

import math
import re

import msgspec

from quantize.architecture import Architecture, from_gguf_metadata, from_hf_config, tensors
from quantize.converter.folder import ModelFolder
from quantize.errors import ConversionError, InvalidModelError, UnknownArchitectureError
from quantize.gguf_header import Header
from quantize.safetensors_header import SafetensorsTensor

# Weights that have no place in a GGUF of the language model: other senses, masks and tables that are computed.
_LEFT_OUT = re.compile(
    r"(vision|visual|audio|projector|connector|patch_|image_|talker|vit\.|siglip)"
    r"|\.(masked_bias|rotary_emb\.inv_freq|attention\.bias)$"
    r"|\.(weight_scale|weight_scale_inv|input_scale|k_scale|v_scale|activation_scale)$"
)
_GENERATED = re.compile(r"^rope_(freqs|factors_\w+)\.weight$")
# Dimensions that change what is computed and not the shape of any tensor.
_FACTS = ("n_head", "n_head_kv", "head_dim", "n_rot")


def check_result(header: Header, model: ModelFolder) -> None:
    """Raises ConversionError unless the file holds all that `model` has.

    For architectures that are known here it must have exactly the tensors that config.json promises, and the same
    heads. For others, as many weights as went in, apart from what no GGUF holds.
    """
    try:
        promised = from_hf_config(model.config)
    except (UnknownArchitectureError, InvalidModelError):
        _check_count(header, model)
    else:
        _check_tensors(header, promised, model)


def _check_tensors(header: Header, promised: Architecture, model: ModelFolder) -> None:
    shapes = header.shapes
    embedding = shapes.get("token_embd.weight")
    if embedding and embedding[-1] < promised.n_vocab:  # rows without a token are left out for some
        promised = msgspec.structs.replace(promised, n_vocab=embedding[-1])
    wanted = {tensor.name: tensor.shape for tensor in tensors(promised)}
    lost = sorted(name for name in wanted if name not in shapes)
    if lost:
        raise _wrong(model, f"{len(lost)} tensors are missing, first {lost[0]!r}")
    bent = sorted(name for name, shape in wanted.items() if _plain(shapes[name]) != _plain(shape))
    if bent:
        name = bent[0]
        raise _wrong(model, f"tensor {name!r} is {shapes[name]} and should be {wanted[name]}")
    try:
        found = from_gguf_metadata(header.metadata, shapes)
    except (UnknownArchitectureError, InvalidModelError) as error:
        raise _wrong(model, str(error)) from error
    if promised.mla is not None:  # in which the engine counts heads in another way
        return
    for fact in _FACTS:
        if getattr(found, fact) != getattr(promised, fact):
            told = f"{fact} is {getattr(found, fact)} and should be {getattr(promised, fact)}"
            raise _wrong(model, told)


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without ones at its end, which mean nothing to the engine."""
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _check_count(header: Header, model: ModelFolder) -> None:
    went_in = sum(tensor.parameters for tensor in model.weights.tensors if not _left_out(tensor, model))
    came_out = 0
    for tensor in header.tensors:
        if not _GENERATED.search(tensor.name):
            came_out += math.prod(tensor.shape)
    if came_out < went_in and model.quantized is None:
        raise _wrong(model, f"{went_in:,} weights went in and {came_out:,} came out")


def _left_out(tensor: SafetensorsTensor, model: ModelFolder) -> bool:
    tied = model.config.get("tie_word_embeddings") and tensor.name.endswith("lm_head.weight")
    return bool(tied or _LEFT_OUT.search(tensor.name))


def _wrong(model: ModelFolder, what: str) -> ConversionError:
    return ConversionError(
        f"the GGUF that was made of {model.path} is not that model: {what}. Is config.json that of these weights? "
        "Else take a GGUF that somebody has published of it"
    )
