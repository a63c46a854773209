"""What `slm-advisor catalog` prints: the structs behind its JSON documents, made from the catalog's models."""

from __future__ import annotations

from typing import Any

import msgspec

from advisor.catalog import Catalog, LicenseClass, Model, Task, Variant
from advisor.catalog_check import Problem
from quantize.architecture import Architecture

REFERENCE_QUANT = "Q4_K_M"


class VariantView(msgspec.Struct, frozen=True, kw_only=True):
    """A model at a quantization; bytes. `exact`: the engine said so, or the file itself."""

    quant: str
    file_bytes: int
    bits_per_weight: float
    tensor_bytes: int
    read_bytes_per_token: int
    bytes_by_type: dict[str, int]
    read_bytes_by_type: dict[str, int]
    embedding_bytes: int
    output_bytes: int
    layer_bytes: int
    needs_imatrix: bool
    exact: bool


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """A model in a list. `file_bytes` is that of its Q4_K_M; null where llama.cpp cannot run the model."""

    id: str
    name: str
    family: str
    parameters: int
    parameters_active: int | None
    verified: bool
    runnable: bool
    unsupported: str | None
    license: str | None
    license_class: LicenseClass | None
    gated: bool | None
    languages: tuple[str, ...] | None
    context_length: int | None
    release_date: str | None
    tasks: tuple[Task, ...]
    modality: str
    file_bytes: int | None


class CatalogListDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`catalog list --json`."""

    count: int
    models: tuple[ModelView, ...]


class CatalogModelDocument(ModelView, frozen=True, kw_only=True):
    """`catalog show MODEL --json`. `sources` gives for each fact the source in full."""

    aliases: tuple[str, ...]
    architecture: Architecture | None
    weights: str | None
    gguf_repos: tuple[str, ...]
    ollama: str | None
    notes: tuple[str, ...]
    sources: dict[str, str]
    variants: tuple[VariantView, ...]


class CatalogCheckDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`catalog check --json`."""

    files: tuple[str, ...]
    models: int
    problems: tuple[Problem, ...]


class CatalogAddedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`catalog add --json`: where the entry was written, and the model as the catalog has it now."""

    file: str
    model: CatalogModelDocument


def model_view(model: Model) -> ModelView:
    """A model as a row of a list."""
    return ModelView(**_row(model))


def model_document(model: Model, catalog: Catalog) -> CatalogModelDocument:
    """Everything the catalog knows of a model."""
    return CatalogModelDocument(
        **_row(model),
        aliases=model.aliases,
        architecture=model.architecture,
        weights=model.weights,
        gguf_repos=model.gguf_repos,
        ollama=model.ollama,
        notes=model.notes,
        sources={fact: catalog.sources.get(key, key) for fact, key in model.sources.items()},
        variants=tuple(variant_view(variant) for variant in model.variants),
    )


def variant_view(variant: Variant) -> VariantView:
    """A variant with its fields by name."""
    return VariantView(
        **msgspec.structs.asdict(variant), read_bytes_per_token=sum(variant.read_bytes_by_type.values())
    )


def _row(model: Model) -> dict[str, Any]:
    fields = {name: getattr(model, name) for name in _SHARED}
    sizes = [variant.file_bytes for variant in model.variants if variant.quant == REFERENCE_QUANT]
    return {**fields, "file_bytes": sizes[0] if sizes else None}


_SHARED = tuple(name for name in ModelView.__struct_fields__ if name != "file_bytes")
