"""The user's own models: TOML files under `$XDG_DATA_HOME/slm-advisor/catalog`, in the form of the shipped ones."""

from __future__ import annotations

from pathlib import Path

from advisor.catalog import Model
from advisor.errors import InvalidInputError
from profiles.data_folder import data_folder


def user_folder() -> Path | None:
    """Where the user's files are, below `profiles.data_folder`; None for a user without a home folder."""
    folder = data_folder()
    return folder / "catalog" if folder else None


def user_files() -> list[Path]:
    """The user's files, in order; none where the folder is missing or cannot be read."""
    folder = user_folder()
    try:
        return sorted(folder.glob("*.toml")) if folder else []
    except OSError:
        return []


def user_models() -> tuple[tuple[Model, ...], dict[str, str], tuple[str, ...]]:
    """The user's models, the sources they name, and what is wrong with the files that had to be left out."""
    files = user_files()
    if not files:
        return (), {}, ()
    from advisor.catalog_file import Family, model_of, read_family

    families: list[Family] = []
    problems: list[str] = []
    for path in files:
        try:
            families.append(read_family(path))
        except InvalidInputError as error:
            problems.append(str(error))
    models = tuple(model_of(entry, family.family) for family in families for entry in family.model)
    sources = {key: text for family in families for key, text in family.sources.items()}
    return models, sources, tuple(problems)
