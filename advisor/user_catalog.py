"""The user's own models: TOML files under `$XDG_DATA_HOME/slm-advisor/catalog`, in the form of the shipped ones."""

from __future__ import annotations

import os
from pathlib import Path

from advisor.catalog import Model


def user_folder() -> Path | None:
    """Where the user's files are; `$XDG_DATA_HOME` or, as its specification says, `~/.local/share`.

    None for a user without a home folder.
    """
    base = os.environ.get("XDG_DATA_HOME", "")
    # An XDG path that is not absolute counts as unset.
    try:
        root = Path(base) if base.startswith("/") else Path.home() / ".local" / "share"
    except RuntimeError:
        return None
    return root / "slm-advisor" / "catalog"


def user_files() -> list[Path]:
    """The user's files, in order; none where the folder is missing or cannot be read."""
    folder = user_folder()
    try:
        return sorted(folder.glob("*.toml")) if folder else []
    except OSError:
        return []


def user_models() -> tuple[tuple[Model, ...], dict[str, str]]:
    """The user's models and the sources they name. Raises InvalidInputError for a file with a mistake in it."""
    files = user_files()
    if not files:
        return (), {}
    from advisor.catalog_file import model_of, read_family

    families = [read_family(path) for path in files]
    models = tuple(model_of(entry, family.family) for family in families for entry in family.model)
    return models, {key: text for family in families for key, text in family.sources.items()}
