"""The Hub's own cache on disk: where a file lies in it, what is there already, and what a half download left.

The layout is huggingface_hub's (its guide "Understand caching"): `blobs/HASH` holds the bytes under their SHA-256 or
git hash, `snapshots/COMMIT/NAME` points there, `refs/BRANCH` holds the commit a branch was at. What is fetched here
is found by every other tool that uses the cache, and the other way round.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from quantize.sources.names import is_commit, is_safe, is_sha256
from quantize.sources.source import SourceFile


class RepositoryCache:
    """The part of the cache that belongs to one repository. Names must have been checked (`names`)."""

    def __init__(self, cache: Path, repository: str) -> None:
        folder = "models--" + repository.replace("/", "--")
        self.folder = cache / folder
        self._locks = cache / ".locks" / folder

    def blob(self, file: SourceFile) -> Path:
        """Where the bytes of `file` belong. Only for a file whose hash is known."""
        return self.folder / "blobs" / _etag(file)

    def partial(self, file: SourceFile) -> Path:
        """What a download that was cut left behind."""
        return self.folder / "blobs" / f"{_etag(file)}.incomplete"

    def lock(self, file: SourceFile) -> Path:
        """Whoever downloads the file holds this lock, huggingface_hub included."""
        return self._locks / f"{_etag(file)}.lock"

    def pointer(self, commit: str, name: str) -> Path:
        """Where people and programs look for the file."""
        return self.folder / "snapshots" / commit / name

    def find(self, commit: str, file: SourceFile) -> Path | None:
        """The file if it is here whole, by its size; its hash is not looked at."""
        places = [self.pointer(commit, file.name)]
        places += [self.blob(file)] if _etag(file) else []
        return next((path for path in places if _size(path) == file.bytes), None)

    def missing_bytes(self, commit: str, file: SourceFile) -> int:
        """Bytes of `file` that are still to come."""
        if self.find(commit, file) is not None:
            return 0
        here = _size(self.partial(file)) or 0 if _etag(file) else 0
        return file.bytes - here if here <= file.bytes else file.bytes

    def link(self, commit: str, file: SourceFile) -> Path:
        """Let the snapshot point to the blob, or hold it where the file system has no links. Returns the pointer."""
        pointer, blob = self.pointer(commit, file.name), self.blob(file)
        if _size(pointer) == file.bytes:
            return pointer
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.unlink(missing_ok=True)
        try:
            pointer.symlink_to(os.path.relpath(blob, pointer.parent))
        except OSError:
            blob.replace(pointer)
        return pointer

    def remove(self, commit: str, file: SourceFile) -> None:
        """Take away a file that is not what it should be."""
        self.pointer(commit, file.name).unlink(missing_ok=True)
        if _etag(file):
            self.blob(file).unlink(missing_ok=True)

    def remember(self, branch: str, commit: str) -> None:
        """Note what `branch` was at, so that it is found offline."""
        if branch == commit:
            return
        path = self.folder / "refs" / branch
        if _text(path) == commit:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        unfinished.write_text(commit)
        unfinished.replace(path)

    def commits(self, revision: str) -> Iterator[str]:
        """The commits that are here and can be what `revision` means: the noted one, then for "main" the newest."""
        known = revision if is_commit(revision) else _text(self.folder / "refs" / revision)
        folders = [path for path in _entries(self.folder / "snapshots") if is_commit(path.name)]
        newest = [path.name for path in sorted(folders, key=_modified, reverse=True)]
        if known in newest:
            yield known
        if revision == "main":
            yield from (commit for commit in newest if commit != known)

    def files(self, commit: str) -> tuple[SourceFile, ...]:
        """The files of a commit that are here, with the hashes their places in the cache give."""
        root = self.folder / "snapshots" / commit
        found = []
        for folder, _, names in os.walk(root):
            for name in sorted(names):
                path = Path(folder, name)
                relative, size = path.relative_to(root).as_posix(), _size(path)
                if size is None or not is_safe(relative):
                    continue
                etag = path.readlink().name if path.is_symlink() else ""
                found.append(
                    SourceFile(
                        name=relative,
                        bytes=size,
                        sha256=etag if is_sha256(etag) else None,
                        git_oid=etag if is_commit(etag) else None,
                        cached=True,
                    )
                )
        return tuple(found)


def _etag(file: SourceFile) -> str:
    return file.sha256 or file.git_oid or ""


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _text(path: Path) -> str | None:
    try:
        return path.read_text("ascii").strip()[:100]
    except (OSError, UnicodeDecodeError):
        return None
