"""What a GGUF file is: its architecture, its exact sizes, its digest, and the catalog's model it is a file of."""

from __future__ import annotations

from pathlib import Path

import msgspec

from advisor.catalog import Catalog, Model, Variant
from advisor.errors import InvalidInputError, UnknownModelError
from advisor.load import load_digest
from quantize.architecture import Architecture, from_gguf_metadata, parameter_count
from quantize.gguf_header import Header, read_header
from quantize.types import PRESETS


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """A model in a file. `variant` has the file's own sizes, under the label the file gives itself.

    `model` is the catalog's model of the same dimensions that the file's names point to, None where none does;
    `preset` is the preset of the catalog whose tensors have the same types and bytes.
    """

    path: Path
    architecture: Architecture
    variant: Variant
    load_digest: str
    parameters: int
    model: Model | None
    preset: str | None

    @property
    def label(self) -> str:
        """MODEL:QUANT as far as they are known; for a file of no known model, its name."""
        quant = self.preset or self.variant.quant
        return f"{self.model.name}:{quant}" if self.model else self.path.name


def identify(path: Path, catalog: Catalog) -> ModelFile:
    """Read the file's header and look it up; takes milliseconds, the weights are not read.

    Raises InvalidModelError for what is no GGUF or a damaged one, UnknownArchitectureError for an architecture
    that is not known here, InvalidInputError for a part of a model.
    """
    from advisor.sizes import sizes_of, variant_of

    header = read_header(path)
    shards = header.metadata.get("split.count")
    if isinstance(shards, int) and shards > 1:
        raise InvalidInputError(
            f"{path} is one of {shards} parts of a model; merge them first (llama-gguf-split --merge)"
        )
    arch = from_gguf_metadata(header.metadata, header.shapes)
    sizes = sizes_of(arch, header.tensors)
    variant = variant_of(arch, quant_label(header, sizes.bytes_by_type), sizes, header.file_bytes)
    alike = [model for model in catalog.models if model.architecture and _alike(model.architecture, arch)]
    model = _named(path, header, alike, catalog)
    return ModelFile(
        path=path,
        architecture=arch,
        variant=variant,
        load_digest=load_digest(arch, variant.bytes_by_type),
        parameters=parameter_count(arch),
        model=model,
        preset=_preset(variant, alike),
    )


def quant_label(header: Header, bytes_by_type: dict[str, int]) -> str:
    """The preset a file says it is; for a file that does not say, the type most of its bytes have."""
    file_type = header.metadata.get("general.file_type")
    for preset in PRESETS.values():
        if preset.ftype == file_type:
            return preset.name
    return max(bytes_by_type, key=lambda name: bytes_by_type[name])


def _alike(known: Architecture, found: Architecture) -> bool:
    """Equal, but for the context length, which is only a promise."""
    return known == msgspec.structs.replace(found, context_length=known.context_length)


def _preset(variant: Variant, alike: list[Model]) -> str | None:
    """The preset of the same bytes; the file's own label first where several are equal."""
    equal = [
        known.quant
        for model in alike[:1]
        for known in model.variants
        if known.exact and known.bytes_by_type == variant.bytes_by_type
    ]
    return variant.quant if variant.quant in equal else next(iter(equal), None)


def _named(path: Path, header: Header, alike: list[Model], catalog: Catalog) -> Model | None:
    """Of models with these dimensions the one that the file's metadata or its name means; the only one there is."""
    ids = {model.id for model in alike}
    for key in ("general.name", "general.basename"):
        if (found := _find(header.metadata.get(key), catalog)) and found.id in ids:
            return found
    if (found := _find(path.stem, catalog)) and found.id in ids:
        return found
    return alike[0] if len(alike) == 1 else None


def _find(name: object, catalog: Catalog) -> Model | None:
    try:
        return catalog.find(name) if isinstance(name, str) and 0 < len(name) < 200 else None
    except UnknownModelError:
        return None
