"""The catalog: models, the variants of each with their exact bytes, and finding one by the name people use.

People edit `catalog/*.toml`, one family a file, each fact with its source. What loads is `catalog/index.json`,
compiled from those files by `make catalog` together with the sizes the engine reports: reading it takes about
15 ms where the TOML would take two seconds. The user's own models (`slm-advisor catalog add`) are TOML files
under `$XDG_DATA_HOME/slm-advisor/catalog` and are merged in when the catalog loads.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from advisor.errors import InvalidInputError, UnknownModelError
from advisor.names import NameTable, canonical
from quantize.architecture import Architecture

CATALOG_FOLDER = Path(__file__).with_name("catalog")
INDEX_FILE = CATALOG_FOLDER / "index.json"

LicenseClass = Literal["permissive", "conditional", "non-commercial"]
"""permissive: any use. conditional: commercial use under conditions (a use policy, a revenue or user limit,
a duty to ask). non-commercial: research or evaluation only."""

Task = Literal[
    "chat", "coding", "reasoning", "summarize", "translate", "extract", "agent", "voice", "general"
]


class Variant(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A model at a quantization. In JSON it is an array in this order; `named` gives it with names."""

    quant: str
    tensor_bytes: int
    """Bytes of all tensors with their alignment in the file, as the engine lays them out."""
    file_bytes: int
    """`tensor_bytes` plus header and tokenizer; the tokenizer's share is an estimate (a few MB)."""
    bits_per_weight: float
    """8 * tensor bytes / weights in the file."""
    bytes_by_type: dict[str, int]
    read_bytes_by_type: dict[str, int]
    """Weight bytes read to generate one token: each matrix once, of the experts the share that is used."""
    embedding_bytes: int
    """Look-up tables (token_embd, per_layer_token_embd); they stay in host memory when layers are offloaded."""
    output_bytes: int
    """The output head; it is token_embd itself when the two are tied."""
    layer_bytes: int
    """All blocks together."""
    needs_imatrix: bool
    exact: bool = True
    """False where the sizes come from a rule of thumb since no engine was there to ask."""

    def named(self) -> dict[str, object]:
        """The fields by name, for JSON output."""
        return msgspec.structs.asdict(self)


class Model(msgspec.Struct, frozen=True, omit_defaults=True):
    """A catalog entry. What is not known is None; `sources` says where each known fact is from."""

    id: str
    """The Hub id, "Qwen/Qwen2.5-7B-Instruct"; "local/NAME" for a model the user added."""
    name: str
    """Short and unique, as used in MODEL:QUANT: "Qwen2.5-7B-Instruct"."""
    family: str
    parameters: int
    """Of the text model as the GGUF holds it: no vision or audio tower, no multi-token-prediction head."""
    verified: bool
    """The architecture's tensors add up to the published parameter count."""
    modality: str = "text"
    aliases: tuple[str, ...] = ()
    parameters_active: int | None = None
    """Used for one token; for mixtures of experts."""
    architecture: Architecture | None = None
    unsupported: str | None = None
    """Why llama.cpp cannot run it; None where it can."""
    license: str | None = None
    license_class: LicenseClass | None = None
    gated: bool | None = None
    languages: tuple[str, ...] | None = None
    """ISO 639-1 codes."""
    context_length: int | None = None
    release_date: str | None = None
    """YYYY, YYYY-MM or YYYY-MM-DD."""
    tasks: tuple[Task, ...] = ()
    weights: str | None = None
    """Where the full-precision weights are: a Hub repository, or a local path for a model the user added."""
    gguf_repos: tuple[str, ...] = ()
    ollama: str | None = None
    notes: tuple[str, ...] = ()
    sources: dict[str, str] = {}
    """Fact -> key of `Catalog.sources`."""
    variants: tuple[Variant, ...] = ()
    body_weights: int | None = None
    """Weights of the blocks; None where the F16 variant says it, which a policy may have taken out."""

    @property
    def own(self) -> bool:
        """The user added it: its dimensions are those of the user's own file."""
        return self.id.startswith("local/")

    @property
    def runnable(self) -> bool:
        """llama.cpp runs it and its dimensions are known, so that it can be sized and recommended."""
        return self.unsupported is None and self.architecture is not None and bool(self.variants)

    def variant(self, quant: str) -> Variant:
        """The variant of that preset name, as `quantize.types.parse_preset` writes it.

        Raises UnknownModelError with the presets there are.
        """
        for variant in self.variants:
            if variant.quant == quant:
                return variant
        there = tuple(variant.quant for variant in self.variants)
        why = f": {self.unsupported}" if self.unsupported and not there else ""
        raise UnknownModelError(f"{self.name} has no variant {quant}{why}", nearest=there)


class Index(msgspec.Struct, frozen=True):
    """`index.json`. `catalog_version` comes first so that it can be read without decoding the rest.

    Models of equal dimensions share one table of variants: model i has `size_tables[table_of[i]]`.
    """

    catalog_version: str
    engine: str
    """Version of the engine that made the sizes."""
    files: dict[str, str]
    """SHA-256 of each TOML file the index was made from."""
    sources: dict[str, str]
    models: tuple[Model, ...]
    table_of: tuple[int | None, ...]
    size_tables: tuple[tuple[Variant, ...], ...]

    def complete_models(self) -> list[Model]:
        """The models with their variants."""
        return [
            model if table is None else msgspec.structs.replace(model, variants=self.size_tables[table])
            for model, table in zip(self.models, self.table_of, strict=True)
        ]


class Catalog:
    """All models, those the user added included, and finding one by name."""

    def __init__(
        self,
        models: Iterable[Model],
        sources: dict[str, str] | None = None,
        problems: tuple[str, ...] = (),
    ) -> None:
        self.models: tuple[Model, ...] = tuple(models)
        self.sources: dict[str, str] = sources or {}
        self.problems = problems  # files of the user that are left out, and why
        self._found: dict[str, Model] = {}

    @functools.cached_property
    def _names(self) -> NameTable[Model]:
        table: NameTable[Model] = NameTable()
        for model in self.models:
            table.add(
                model, model.name, [model.id, *model.aliases, *([model.ollama] if model.ollama else [])]
            )
        return table

    def find(self, text: str) -> Model:
        """The model a name means: an id, a name, an alias or a loose spelling ("qwen2.5:7b", "Llama-3.1-8B").

        A base name means the instruct model of that size. A name that fits several models of different
        dimensions is refused. Raises UnknownModelError with the nearest names.
        """
        found = self._found.get(text)
        if found is None:
            found = self._found[text] = self._resolve(text)
        return found

    def _resolve(self, text: str) -> Model:
        candidates = self._names.candidates(text)
        if candidates and (
            len(candidates) == 1 or all(_same_dimensions(candidates[0], other) for other in candidates[1:])
        ):
            return candidates[0]
        if candidates:
            names = tuple(model.name for model in candidates)
            raise UnknownModelError(f"'{text}' could be any of {len(names)} models; name one", nearest=names)
        raise UnknownModelError(
            f"no model '{text}' in the catalog; 'slm-advisor catalog list' shows all, "
            "'slm-advisor catalog add' adds a local one",
            nearest=self._names.nearest(text),
        )


@functools.cache
def load_catalog() -> Catalog:
    """The shipped catalog with the user's own models; a user's model replaces a shipped one of the same id.

    A file of the user's that has a mistake in it is left out and is among the catalog's problems.
    """
    index = read_index()
    models = index.complete_models()
    sources = index.sources
    from advisor.user_catalog import user_models

    own, own_sources, problems = user_models()
    if own:
        own = tuple(_with_sizes(model, models) for model in own)
        replaced = {model.id for model in own}
        taken = {canonical(model.name) for model in own}
        models = [m for m in models if m.id not in replaced and canonical(m.name) not in taken] + list(own)
        sources = {**sources, **own_sources}
    return Catalog(models, sources, problems)


def read_index(path: Path = INDEX_FILE) -> Index:
    """The compiled index. Raises InvalidInputError when it is missing or broken: reinstall, or `make catalog`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Index)
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidInputError(
            f"the catalog's index {path} cannot be read ({error}); reinstall slm-advisor, "
            "or run 'make catalog' in a checkout"
        ) from error


@functools.cache
def catalog_version() -> str:
    """Version of the shipped catalog ("2026.11.23-1a2b3c4d"), from the index's first bytes; "unknown" without one."""
    try:
        with INDEX_FILE.open("rb") as file:
            head = file.read(120).decode("utf-8", "replace")
    except OSError:
        return "unknown"
    key, _, rest = head.partition(":")
    return rest.split('"')[1] if key.endswith('"catalog_version"') and rest.count('"') >= 2 else "unknown"


def family_matches(family: str, wanted: tuple[str, ...]) -> bool:
    """True where a wanted word starts the family's name: "qwen" takes "Qwen3", "Qwen3" does not take "Qwen3.5"."""
    name = canonical(family)
    for word in wanted:
        start = canonical(word)
        if (
            start
            and name.startswith(start)
            and (start.isalpha() or name[len(start) :][:1] not in {*".0123456789"})
        ):
            return True
    return False


def _with_sizes(model: Model, known: list[Model]) -> Model:
    """An entry written by hand gets sizes borrowed from a like model."""
    if model.variants or model.architecture is None or model.unsupported is not None:
        return model
    from advisor.borrowed_sizes import borrowed_variants

    return msgspec.structs.replace(model, variants=borrowed_variants(model.architecture, known))


def _same_dimensions(a: Model, b: Model) -> bool:
    return a.architecture is not None and a.architecture == b.architecture
