"""Adding a local model to the user's catalog, from a GGUF's header or a folder's config.json.

A GGUF gives one variant, its own, with the exact bytes of its tensors; one of full precision gives every
quantization that can be made of it too. Sizes of quantizations come from the engine where it is installed and
from a like model of the catalog otherwise (`borrowed_sizes`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from advisor.borrowed_sizes import borrowed_variants
from advisor.catalog import Catalog, Variant, load_catalog
from advisor.catalog_file import Entry, EntryVariant, Family, write_family
from advisor.errors import InvalidInputError
from advisor.identify import identify
from advisor.names import canonical
from advisor.user_catalog import user_folder
from profiles.data_folder import write_whole
from quantize.architecture import Architecture, from_hf_config, parameter_count
from quantize.errors import InvalidModelError

MAX_CONFIG_BYTES = 4 << 20
FULL_PRECISION = frozenset({"F32", "F16", "BF16"})


def add_model(path: Path, name: str | None = None) -> tuple[Path, str]:
    """Write the model at `path` into the user's catalog; returns the file written and the model's id.

    Raises InvalidInputError for what is no model or a name that is taken, InvalidModelError for a damaged file
    and UnknownArchitectureError for an architecture whose tensors are not known.
    """
    catalog = load_catalog()
    entry = _from_folder(path, catalog) if path.is_dir() else _from_gguf(path, catalog)
    if name is not None or not re.fullmatch(r"[\w.\-]+", entry.name):
        entry = _renamed(entry, _plain(name if name is not None else entry.name))
    _refuse_taken(entry, catalog)
    family = Family("local", {entry.id: f"the header of {path.resolve()}"}, (entry,))
    return _write(entry.name, write_family(family, f"{entry.name}: added from {path.resolve()}")), entry.id


def _from_gguf(path: Path, catalog: Catalog) -> Entry:
    if path.exists() and not path.is_file():
        raise InvalidInputError(f"{path} is neither a file nor a folder")
    found = identify(path, catalog)
    arch, own = found.architecture, found.variant
    others = _all_variants(arch, catalog) if own.quant in FULL_PRECISION else ()
    variants = (own, *(variant for variant in others if variant.quant not in FULL_PRECISION))
    return _entry(path.stem, path, arch, "exact", variants)


def _from_folder(path: Path, catalog: Catalog) -> Entry:
    config = path / "config.json"
    if not config.exists():
        files = sorted(file.name for file in path.glob("*.gguf"))[:3]
        hint = f"; give a GGUF file itself: {', '.join(files)}" if files else ""
        raise InvalidInputError(f"{path} has no config.json{hint}")
    arch = from_hf_config(_read_config(config))
    return _entry(path.resolve().name, path, arch, "unverified", _all_variants(arch, catalog))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        if len(text) > MAX_CONFIG_BYTES:
            raise InvalidModelError(f"{path} is larger than {MAX_CONFIG_BYTES:,} bytes: no configuration")
        config = msgspec.json.decode(text)
    except OSError as error:
        raise InvalidModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidModelError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InvalidModelError(f"{path} is not a configuration: it holds no object")
    return config


def _entry(name: str, path: Path, arch: Architecture, check: Any, variants: tuple[Variant, ...]) -> Entry:
    model_id = f"local/{_plain(name)}"
    facts = ("architecture", "parameters", "context_length", "weights")
    return Entry(
        id=model_id,
        name=_plain(name),
        parameters=parameter_count(arch),
        parameters_check=check,
        context_length=arch.context_length,
        weights=str(path.resolve()),
        architecture=arch,
        sources=dict.fromkeys(facts, model_id),
        variants=tuple(EntryVariant(**msgspec.structs.asdict(variant)) for variant in variants),
    )


def _renamed(entry: Entry, name: str) -> Entry:
    model_id = f"local/{name}"
    sources = dict.fromkeys(entry.sources, model_id)
    return msgspec.structs.replace(entry, id=model_id, name=name, sources=sources)


def _plain(name: str) -> str:
    """A name that MODEL:QUANT, a file name and TOML take."""
    plain = re.sub(r"[^\w.\-]+", "-", name, flags=re.ASCII).strip("-.")
    if not plain:
        raise InvalidInputError(f"'{name}' is no name for a model; use letters, digits, '.', '-' and '_'")
    return plain


def _refuse_taken(entry: Entry, catalog: Catalog) -> None:
    """One's own model may be written again; a name of another model may not be taken."""
    for model in catalog.models:
        if model.id != entry.id and canonical(entry.name) in {
            canonical(model.name),
            *map(canonical, model.aliases),
        }:
            raise InvalidInputError(
                f"the catalog has a model '{model.name}' ({model.id}) already; give this one a name with --name"
            )


def _all_variants(arch: Architecture, catalog: Catalog) -> tuple[Variant, ...]:
    """Every quantization: asked from the engine, or borrowed where there is no engine."""
    if not engine_is_installed():
        return borrowed_variants(arch, (model for model in catalog.models if model.verified))
    from advisor.sizes import SizesError, variants_of

    try:
        return variants_of(arch)
    except SizesError as error:
        raise InvalidModelError(f"the engine refuses this model: {error}") from error


def engine_is_installed() -> bool:
    """Whether llama-cpp-python can be asked; it is not imported."""
    from importlib.util import find_spec

    return find_spec("llama_cpp") is not None


def _write(name: str, text: str) -> Path:
    """Write a file of the user's catalog whole or not at all."""
    folder = user_folder()
    if folder is None:
        raise InvalidInputError("there is no home folder to keep your catalog in; set XDG_DATA_HOME")
    path = folder / f"{name}.toml"
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror or error}") from error
    return path
