"""How large each quantization of a model is, asked from the engine.

Every preset is quantized as a dry run on a skeleton of the model: no weights, no re-implementation of the
engine's mixture rules. A preset is run with an importance matrix if and only if the engine refuses to make it
without one; of the others an importance matrix moves the size of Q4_0, Q5_0, IQ4_NL and IQ4_XS, by about 1%.
With this choice the bits per weight of Llama-3.1-8B equal all values in llama.cpp's tools/quantize/README.md.
"""

from __future__ import annotations

import atexit
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import msgspec

from advisor.catalog import Variant
from advisor.tokenizer_size import tokenizer_bytes
from profiles.engine.client import Engine
from profiles.engine.protocol import EngineFailure, EngineVersion, TensorPlan
from quantize.architecture import Architecture, layers, tensors
from quantize.skeleton import header_bytes, write_skeleton
from quantize.types import PRESETS, TENSOR_TYPES, Preset

_LOOKED_UP = ("token_embd.weight", "per_layer_token_embd.weight")
_OUTPUT = "output.weight"


class SizesError(Exception):
    """The engine could not size a model; the message has its reason."""


class Sizes(msgspec.Struct, frozen=True):
    """One quantization of one architecture; the fields mean what they mean in `advisor.catalog.Variant`.

    `elements` counts every number in the file. `header_bytes` is the file's header without its tokenizer.
    `layer_bytes` is what the engine loads besides the look-up tables and an untied output head: the blocks
    that run and some small tensors outside them.
    """

    tensor_bytes: int
    header_bytes: int
    elements: int
    bits_per_weight: float
    bytes_by_type: dict[str, int]
    read_bytes_by_type: dict[str, int]
    embedding_bytes: int
    output_bytes: int
    layer_bytes: int
    needs_imatrix: bool


class Placed(Protocol):
    """A tensor of a file: its name, its type's name, its bytes."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def bytes(self) -> int: ...


def engine_version() -> EngineVersion:
    """Which engine the sizes come from."""
    reply = _engine().version()
    if isinstance(reply, EngineFailure):
        raise SizesError(reply.message)
    return reply


@cache
def size_table(arch: Architecture) -> dict[str, Sizes]:
    """Every preset that makes sense for `arch`, by name. Takes about 5 ms a preset; raises SizesError."""
    experts = any(layer.n_expert for layer in layers(arch))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "skeleton.gguf"
        write_skeleton(arch, path)
        return {
            preset.name: _sizes(arch, path, preset)
            for preset in PRESETS.values()
            if experts or not preset.experts_only
        }


def variants_of(arch: Architecture) -> tuple[Variant, ...]:
    """Every preset of an architecture, largest first, sized by the engine. Raises SizesError."""
    variants = [variant_of(arch, quant, sizes) for quant, sizes in size_table(arch).items()]
    return tuple(sorted(variants, key=lambda variant: -variant.tensor_bytes))


def variant_of(arch: Architecture, quant: str, sizes: Sizes, file_bytes: int | None = None) -> Variant:
    """A catalog's variant of these sizes; without `file_bytes` the tokenizer's share is estimated."""
    return Variant(
        quant=quant,
        tensor_bytes=sizes.tensor_bytes,
        file_bytes=file_bytes or sizes.tensor_bytes + sizes.header_bytes + tokenizer_bytes(arch),
        bits_per_weight=round(sizes.bits_per_weight, 4),
        bytes_by_type=sizes.bytes_by_type,
        read_bytes_by_type=sizes.read_bytes_by_type,
        embedding_bytes=sizes.embedding_bytes,
        output_bytes=sizes.output_bytes,
        layer_bytes=sizes.layer_bytes,
        needs_imatrix=sizes.needs_imatrix,
    )


@cache
def _engine() -> Engine:
    engine = Engine()
    atexit.register(engine.close)
    return engine


def tensor_types(arch: Architecture, quant: str, engine: Engine | None = None) -> dict[str, str]:
    """The type that preset `quant` gives each tensor of `arch`, by name ("blk.0.ffn_up.weight" -> "Q4_K").

    Raises SizesError; `engine` is asked instead of the one kept for sizes.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "skeleton.gguf"
        write_skeleton(arch, path)
        placed = _plan(engine or _engine(), arch, path, PRESETS[quant])
    return {tensor.name: _NAMES[tensor.type.lower()] for tensor in placed}


def _sizes(arch: Architecture, path: Path, preset: Preset) -> Sizes:
    placed = _plan(_engine(), arch, path, preset)
    return sizes_of(arch, placed, needs_imatrix=preset.needs_imatrix)


def _plan(engine: Engine, arch: Architecture, path: Path, preset: Preset) -> tuple[TensorPlan, ...]:
    plan = engine.quantize_dry_run(path, preset.ftype, imatrix=preset.needs_imatrix)
    if isinstance(plan, EngineFailure):
        raise SizesError(f"{arch.name} at {preset.name}: {plan.message}\n{plan.last_words}")
    return plan.tensors


def sizes_of(arch: Architecture, placed: Sequence[Placed], *, needs_imatrix: bool = False) -> Sizes:
    """The sizes of a file whose tensors have these types and bytes."""
    infos = {info.name: info for info in tensors(arch)}
    total = sum(tensor.bytes for tensor in placed)
    elements = sum(info.n_elements for info in infos.values())
    output = _OUTPUT if _OUTPUT in infos else "token_embd.weight"
    return Sizes(
        tensor_bytes=total,
        header_bytes=header_bytes(arch),
        elements=elements,
        bits_per_weight=total * 8 / elements,
        bytes_by_type=_by_type((tensor, tensor.bytes) for tensor in placed),
        read_bytes_by_type=_by_type((tensor, _read_bytes(arch, tensor, output)) for tensor in placed),
        embedding_bytes=sum(tensor.bytes for tensor in placed if tensor.name in _LOOKED_UP),
        output_bytes=sum(tensor.bytes for tensor in placed if tensor.name == output),
        layer_bytes=sum(
            tensor.bytes
            for tensor in placed
            if tensor.name not in (*_LOOKED_UP, _OUTPUT) and _runs(arch, tensor.name)
        ),
        needs_imatrix=needs_imatrix,
    )


def _read_bytes(arch: Architecture, tensor: Placed, output: str) -> int:
    """Bytes of this tensor that one generated token reads.

    A look-up table costs one row, counted as nothing, unless it is the output head too. Of stacked experts
    only those are read that the router picks. A looped model reads its blocks once per round.
    """
    if (tensor.name in _LOOKED_UP and tensor.name != output) or not _runs(arch, tensor.name):
        return 0
    index = _block(tensor.name)
    if index is None:
        return tensor.bytes
    layer = layers(arch)[index]
    share = (layer.n_expert_used, layer.n_expert) if "_exps." in tensor.name else (1, 1)
    return tensor.bytes * arch.n_loop * share[0] // share[1]


def _runs(arch: Architecture, name: str) -> bool:
    """False for blocks for multi-token prediction, which the engine leaves alone unless it is asked."""
    index = _block(name)
    return index is None or index < arch.n_layer


def _block(name: str) -> int | None:
    return int(name.split(".")[1]) if name.startswith("blk.") else None


_NAMES = {name.lower(): name for name in TENSOR_TYPES}


def _by_type(sizes: Iterable[tuple[Placed, int]]) -> dict[str, int]:
    counter: Counter[str] = Counter()
    for tensor, n in sizes:
        counter[_NAMES[tensor.type.lower()]] += n
    return {name: n for name, n in counter.most_common() if n}
