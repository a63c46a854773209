"""Model files that are on this machine already, found by name in the folders where programs keep them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from advisor.catalog import Model
from advisor.names import canonical

MAX_ENTRIES = 20_000  # looked at; a home folder with more is not searched to its end
MAX_DEPTH = 6


def usual_folders(environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Where the Hub's client, llama.cpp and LM Studio keep files, and where people do; those that exist."""
    try:
        home = Path.home()
    except RuntimeError:
        return ()
    folders = (*_program_folders(home, environment), home / "models", home / "Downloads", Path.cwd())
    return tuple(dict.fromkeys(folder for folder in folders if folder.is_dir()))


def kept_by_a_program(path: Path, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a file lies where the Hub's client, llama.cpp or LM Studio keep theirs, which is no place for others."""
    try:
        folders = _program_folders(Path.home(), environment)
    except RuntimeError:
        return False
    return any(path.absolute().is_relative_to(folder.absolute()) for folder in folders)


def _program_folders(home: Path, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """HF_HUB_CACHE and LLAMA_CACHE count as those programs have it."""
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    return (
        Path(
            environment.get("HF_HUB_CACHE")
            or Path(environment.get("HF_HOME") or cache / "huggingface") / "hub"
        ),
        Path(environment.get("LLAMA_CACHE") or cache / "llama.cpp"),
        home / ".lmstudio" / "models",
    )


def files_of(model: Model, quant: str, folders: Sequence[Path]) -> tuple[Path, ...]:
    """GGUF files whose names say that they are this model at this quantization; whether they are, `identify` tells.

    Reads folders only, no file.
    """
    return Shelf(folders).files_of(model, quant)


class Shelf:
    """The GGUF files in some folders, listed once and looked up by model and quantization as `files_of` does."""

    def __init__(self, folders: Sequence[Path]) -> None:
        paths = dict.fromkeys(path for folder in folders for path in _gguf_files(folder))
        self._files = [(path, path.stem.lower(), canonical(path.stem)) for path in paths]

    def files_of(self, model: Model, quant: str) -> tuple[Path, ...]:
        """Files whose names say that they are this model at this quantization."""
        names, word = _spellings(model), quant.lower()
        return tuple(
            path
            for path, stem, spelled in self._files
            if word in stem and any(name in spelled for name in names)
        )


def named_as(path: Path, model: Model, quant: str) -> bool:
    """Whether a file's name says that it is this model at this quantization."""
    spelled = canonical(path.stem)
    return quant.lower() in path.stem.lower() and any(name in spelled for name in _spellings(model))


def _spellings(model: Model) -> set[str]:
    return {canonical(name) for name in (model.name, model.id.rpartition("/")[2])}


def _gguf_files(folder: Path) -> Iterator[Path]:
    left = MAX_ENTRIES
    todo = [(folder, 0)]
    while todo:
        here, depth = todo.pop()
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            left -= 1
            if left < 0:
                return
            if entry.name.endswith(".gguf"):  # the Hub's cache holds links to its files
                yield Path(entry.path)
            elif depth < MAX_DEPTH and not entry.is_symlink() and entry.is_dir(follow_symlinks=False):
                todo.append((Path(entry.path), depth + 1))
