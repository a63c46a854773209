"""`manifest.json`: what a built variant is, where it is from, how it was made and what that cost.

It lies beside the file and says enough to tell later whether the file is still that file, whether its source has
moved on, and how to make it again. The same inputs give the same file; only times and measurements differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from profiles.files import read_at_most
from quantize.errors import InvalidModelError
from quantize.fidelity import Fidelity
from quantize.workspace import MARK

SCHEMA = "slm-advisor/build"
SCHEMA_VERSION = 1
_MOST_BYTES = 16 << 20


class FileNote(msgspec.Struct, frozen=True, kw_only=True):
    """A file by its name, bytes and SHA-256."""

    name: str
    bytes: int
    sha256: str


class ModelNote(msgspec.Struct, frozen=True, kw_only=True):
    """Which model, by the catalog's name and its Hub id. `license_files` lie beside the built file."""

    name: str
    id: str
    license: str | None = None
    license_files: tuple[str, ...] = ()


class SourceNote(msgspec.Struct, frozen=True, kw_only=True):
    """Where the weights are from. `revision` is the commit on the Hub; `path` is of a local source."""

    kind: Literal["gguf", "safetensors"]
    origin: Literal["local", "hub"]
    path: str | None = None
    repository: str | None = None
    revision: str | None = None
    endpoint: str | None = None
    precision: str | None = None
    license: str | None = None
    files: tuple[FileNote, ...] = ()


class ImatrixNote(msgspec.Struct, frozen=True, kw_only=True):
    """The importance matrix. What it was collected from is null where the user gave a finished one."""

    name: str
    sha256: str
    tensors: int
    chunks: int
    chunk_tokens: int | None
    texts: tuple[str, ...]
    text_sha256: str | None = None
    partial: tuple[str, ...] = ()  # tensors with experts that no token went to


class RecipeNote(msgspec.Struct, frozen=True, kw_only=True):
    """How the variant was made. `method` published: somebody else made it, and how is not known here."""

    method: Literal["gguf", "gptq", "published"]
    preset: str
    output_type: str | None = None
    embedding_type: str | None = None
    overrides: tuple[tuple[str, str], ...] = ()
    imatrix: ImatrixNote | None = None
    options: dict[str, Any] = {}  # of other methods than the engine's own


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One built variant. `tools` are names and versions of what made it."""

    schema: str = SCHEMA
    schema_version: int = SCHEMA_VERSION
    tool_version: str
    built_at: str  # UTC, ISO 8601
    model: ModelNote
    variant: str
    files: tuple[FileNote, ...]
    bytes_by_type: dict[str, int]
    bits_per_weight: float
    source: SourceNote
    recipe: RecipeNote
    tools: dict[str, str]
    fidelity: Fidelity | None = None
    bench: dict[str, Any] | None = None
    seconds: dict[str, float] = {}
    notes: tuple[str, ...] = ()


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `manifest.json` into `folder`."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / MARK).write_bytes(text + b"\n")


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`, or in the folder `path`. Raises InvalidModelError for what is none, or a later one."""
    path = path / MARK if path.is_dir() else path
    try:
        content = read_at_most(path, _MOST_BYTES)
    except OSError as error:
        raise InvalidModelError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        head = msgspec.json.decode(content, type=_Head)
        if head.schema != SCHEMA:
            raise InvalidModelError(f"{path} is no build manifest: its schema is {head.schema!r}")
        if head.schema_version != SCHEMA_VERSION:
            raise InvalidModelError(
                f"{path} has schema version {head.schema_version}, this program reads {SCHEMA_VERSION}: update it"
            )
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise InvalidModelError(f"{path} is no build manifest: {error}") from error


class _Head(msgspec.Struct):
    schema: str
    schema_version: int
