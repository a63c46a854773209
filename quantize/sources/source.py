"""What a source of weights is: what `find` plans, `fetch` brings and a build notes in its manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from profiles.text import amount

Kind = Literal["gguf", "safetensors"]
Origin = Literal["local", "hub"]
Precision = Literal["F32", "F16", "BF16"]

PRECISIONS: dict[str, Precision] = {"F32": "F32", "F16": "F16", "BF16": "BF16"}
"""The types of full precision by their name in GGUF and in safetensors."""


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a source, by its name in the folder or repository ("BF16/x-00001-of-00002.gguf")."""

    name: str
    bytes: int
    sha256: str | None = None
    """Known before the download for large files of the Hub only."""
    git_oid: str | None = None
    """SHA-1 of the git blob, which the Hub gives for files small enough to be in git itself."""
    cached: bool = False
    """It is in the Hub's cache already; what is there is checked all the same."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Weights that a build can start from, and all that is known of them before they are fetched."""

    kind: Kind
    origin: Origin
    files: tuple[SourceFile, ...]
    path: Path | None = None
    """Of a local source: the GGUF (the first part of a split one), or the folder."""
    repository: str | None = None
    """On the Hub: "Qwen/Qwen3-0.6B"."""
    revision: str | None = None
    """The commit on the Hub, 40 hexadecimal digits."""
    branch: str = "main"
    """The branch, tag or commit that was asked for and turned out to be `revision`."""
    endpoint: str | None = None
    """The Hub it is on, without credentials: "https://huggingface.co"."""
    precision: Precision | None = None
    """Of most weights; None for a published quantization and where the Hub does not say."""
    preset: str | None = None
    """Of a ready GGUF: the preset its name promises. None for full precision."""
    license: str | None = None
    """As the repository or the file states it ("apache-2.0")."""
    download_bytes: int = 0
    """Still to come: what is in the cache, also in part, does not count."""
    notes: tuple[str, ...] = ()
    """What was looked at before and why it was not taken, one sentence each."""

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(file.bytes for file in self.files)

    def describe(self) -> str:
        """One line: where it is, what it is, how large, and how much is still to come."""
        what = self.preset or self.precision or "precision not stated"
        parts = [what, amount(self.bytes)]
        if self.origin == "local":
            noun = "local GGUF" if self.kind == "gguf" else "local folder"
            return f"{noun} {self.path} ({', '.join(parts)})"
        parts.append(f"{amount(self.download_bytes)} to download" if self.download_bytes else "cached")
        files = self.files[0].name if self.kind == "gguf" else "safetensors"
        if self.kind == "gguf" and len(self.files) > 1:
            files += f" and {len(self.files) - 1} more"
        return f"{self.repository} at {(self.revision or '')[:7]}: {files} ({', '.join(parts)})"


class FetchedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is here, with the SHA-256 of what was read."""

    name: str
    path: Path
    bytes: int
    sha256: str


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A source that is here: every file complete and checked."""

    source: Source
    path: Path
    """The GGUF (the first part of a split one), or the folder with config.json and safetensors."""
    files: tuple[FetchedFile, ...]
    precision: Precision | None
    """Read from the files; None for a ready GGUF."""
    downloaded_bytes: int
    """Of this call: what was in the cache is not in it."""


class FetchProgress(msgspec.Struct, frozen=True):
    """Where a fetch is: bytes of the current phase, over all files."""

    phase: Literal["checking", "downloading", "waiting"]
    """checking: files that are here are read for their hash. waiting: for the Hub, or for another process."""
    name: str
    """The file."""
    done_bytes: int
    total_bytes: int
    note: str | None = None
    """Why it waits ("the connection was cut; trying again in 4 s")."""


Report = Callable[[FetchProgress], None]
