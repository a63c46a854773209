"""A family's TOML file: its form, reading it strictly, and writing it the same way every time.

    family = "Gemma 3"

    [sources]                      # key -> what it stands for, in full
    llmfit = "PyPI llmfit 1.1.17 ..."

    [[model]]                      # one a model; every field of `Entry`
    id = "google/gemma-3-1b-it"
    ...
    [model.architecture]           # the fields of quantize.architecture.Architecture
    [model.sources]                # fact -> key of [sources]
    [[model.scores]]               # one a harness, source and unit
    results = [{ benchmark = "OLLBv2/IFEval", value = 61.2, setting = "0-shot" }]

`advisor.catalog_check` finds every problem of a file, each with its line and field.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from advisor.catalog import LicenseClass, Model, Task, Variant
from advisor.errors import InvalidInputError
from advisor.toml_text import write_toml
from quantize.architecture import Architecture, active_parameter_count

Count = Annotated[int, msgspec.Meta(ge=1, le=10**13)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
# A pattern's description is an example: the check shows it where the pattern does not fit.
HubId = Annotated[str, msgspec.Meta(pattern=r"^[\w.\-]+/[\w.\-]+$", description="'Qwen/Qwen3-8B'")]
Date = Annotated[
    str, msgspec.Meta(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$", description="'2025', '2025-04' or '2025-04-27'")
]
Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}$", description="'en' or 'ja' (ISO 639)")]


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One published score."""

    benchmark: Text
    value: float
    setting: str = ""


class Scores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Scores of one model from one source, in one unit. A result without a setting has the group's."""

    harness: Text
    source: Text
    unit: Text
    uniform: Literal["yes", "no", "within table"]
    """Whether the harness ran many models the same way."""
    date: str = ""
    setting: str = ""
    note: str = ""
    results: tuple[Result, ...]


class EntryVariant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Sizes written into a user's own file; the shipped families get theirs from the index."""

    quant: Text
    tensor_bytes: Count
    file_bytes: Count
    bits_per_weight: Annotated[float, msgspec.Meta(gt=0, le=64)]
    bytes_by_type: dict[str, Count]
    read_bytes_by_type: dict[str, Count]
    embedding_bytes: Annotated[int, msgspec.Meta(ge=0)]
    output_bytes: Annotated[int, msgspec.Meta(ge=0)]
    layer_bytes: Annotated[int, msgspec.Meta(ge=0)]
    needs_imatrix: bool = False
    exact: bool = True


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model as its family's file states it. The meaning of the fields is that of `advisor.catalog.Model`."""

    id: HubId
    name: Text
    parameters: Count
    parameters_check: Literal["exact", "within 0.5%", "unverified"]
    """How the architecture's tensors compare with the published parameter count."""
    aliases: tuple[Text, ...] = ()
    parameters_note: str = ""
    unsupported: Text | None = None
    license: Text | None = None
    license_class: LicenseClass | None = None
    gated: bool | None = None
    languages: tuple[Language, ...] | None = None
    languages_note: str = ""
    context_length: Count | None = None
    context_note: str = ""
    release_date: Date | None = None
    modality: Text = "text"
    tasks: tuple[Task, ...] = ()
    weights: Text | None = None
    gguf_repos: tuple[HubId, ...] = ()
    ollama: Text | None = None
    unverified: tuple[Text, ...] = ()
    """Facts that no source confirms."""
    notes: tuple[Text, ...] = ()
    architecture: Architecture | None = None
    sources: dict[str, str] = {}
    scores: tuple[Scores, ...] = ()
    variants: tuple[EntryVariant, ...] = ()

    @property
    def verified(self) -> bool:
        """The dimensions are confirmed by the published parameter count."""
        return self.architecture is not None and self.parameters_check != "unverified"


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One file."""

    family: Text
    sources: dict[str, Text] = {}
    model: tuple[Entry, ...] = ()


def read_family(path: Path) -> Family:
    """The content of a file. Raises InvalidInputError that names line and field of the first problem."""
    from advisor.catalog_check import check_file

    family, problems = check_file(path)
    if family is None or problems:
        more = (
            f" (and {len(problems) - 1} more; see 'slm-advisor catalog check')" if len(problems) > 1 else ""
        )
        raise InvalidInputError(f"{problems[0]}{more}")
    return family


def model_of(entry: Entry, family: str) -> Model:
    """The catalog's model of an entry."""
    arch = entry.architecture
    active = active_parameter_count(arch) if arch is not None and arch.moe is not None else None
    return Model(
        id=entry.id,
        name=entry.name,
        family=family,
        parameters=entry.parameters,
        verified=entry.verified,
        modality=entry.modality,
        aliases=entry.aliases,
        parameters_active=active,
        architecture=arch,
        unsupported=entry.unsupported,
        license=entry.license,
        license_class=entry.license_class,
        gated=entry.gated,
        languages=entry.languages,
        context_length=entry.context_length,
        release_date=entry.release_date,
        tasks=entry.tasks,
        weights=entry.weights,
        gguf_repos=entry.gguf_repos,
        ollama=entry.ollama,
        notes=tuple(
            note
            for note in (entry.parameters_note, entry.context_note, entry.languages_note, *entry.notes)
            if note
        ),
        sources=entry.sources,
        variants=tuple(Variant(**msgspec.structs.asdict(variant)) for variant in entry.variants),
    )


def write_family(family: Family, comment: str = "") -> str:
    """The text of a family's file: fields in the order of the structs, what is unset left out."""
    return write_toml(msgspec.to_builtins(family), comment)
