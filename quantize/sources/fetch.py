"""Bring a planned source here and check every file of it: hash, completeness, precision.

fetched = fetch(find_source(None, weights="Qwen/Qwen3-0.6B"), report)
fetched.path, fetched.files[0].sha256
"""

from __future__ import annotations

import math
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from profiles.offline import FORBIDDEN
from profiles.text import amount
from quantize.errors import HubOfflineError, NoRoomError, SourceError
from quantize.safetensors_header import INDEX
from quantize.sources.cache import RepositoryCache
from quantize.sources.download import Download, hash_file
from quantize.sources.hub import Hub
from quantize.sources.local import full_precision, part_headers
from quantize.sources.safetensors import indexed_files, precision_of
from quantize.sources.settings import HubSettings, Patience, hub_settings
from quantize.sources.source import Fetched, FetchedFile, FetchProgress, Precision, Report, Source, SourceFile

_TELL_EVERY_S = 0.1


def fetch(
    source: Source,
    report: Report | None = None,
    *,
    offline: bool = False,
    settings: HubSettings | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """Fetch what is missing of `source`, hash all of it, and make sure that it is full precision if it should be.

    What was cut goes on where it was, in this call and in a later one, also after Ctrl-C. Raises SourceError (and its
    kinds), InvalidModelError for a damaged GGUF, HubError (and its kinds), and NoRoomError.
    """
    report = report or (lambda _: None)
    if source.origin == "local":
        assert source.path is not None
        folder = source.path if source.kind == "safetensors" else source.path.parent
        checking = _Counter("checking", source.bytes, report)
        hashed = [_hashed(folder / file.name, file, checking) for file in source.files]
        return Fetched(
            source=source,
            path=source.path,
            files=tuple(file for file in hashed if file is not None),
            precision=source.precision,
            downloaded_bytes=0,
        )
    settings = settings or hub_settings()
    if offline:
        settings = msgspec.structs.replace(settings, offline=True)
    return _HubFetch(source, settings, patience or Patience(), report).run()


class _HubFetch:
    """One source of the Hub on its way here."""

    def __init__(self, source: Source, settings: HubSettings, patience: Patience, report: Report) -> None:
        assert source.repository is not None and source.revision is not None
        self._source = source
        self._repository, self._commit = source.repository, source.revision
        self._settings = settings
        self._hub = Hub(settings, patience)
        self._cache = RepositoryCache(settings.cache, source.repository)
        self._report = report
        self._sha256: dict[str, str] = {}  # of the files that are here and checked
        self._received = 0

    def run(self) -> Fetched:
        removed = self._check_cached()
        missing = [file for file in self._source.files if file.name not in self._sha256]
        if missing and self._settings.offline:
            wrong = f" ({removed[0]} there had another content than the Hub announced)" if removed else ""
            raise HubOfflineError(
                f"{missing[0].name} of {self._repository} is not in the Hub's cache{wrong}: fetching it needs the "
                f"network, which {FORBIDDEN}"
            )
        self._require_room(missing)
        counter = _Counter("downloading", sum(file.bytes for file in missing), self._report)
        for file in missing:
            if not _is_weights(file):
                self._download(file, counter)
        weights = self._weights()
        needed = [file for file in missing if file in weights]
        counter.total -= sum(file.bytes for file in missing if _is_weights(file) and file not in weights)
        for file in needed:
            self._download(file, counter)
        return self._fetched(
            [file for file in self._source.files if file in weights or not _is_weights(file)]
        )

    def _check_cached(self) -> list[str]:
        """Hash what is in the cache and link it; remove what is wrong, and return its names."""
        cached = [(file, self._cache.find(self._commit, file)) for file in self._source.files]
        counter = _Counter(
            "checking", sum(file.bytes for file, path in cached if path is not None), self._report
        )
        removed = []
        for file, path in cached:
            if path is None:
                continue
            hashed = _hashed(path, file, counter)
            if hashed is None:
                self._cache.remove(self._commit, file)
                removed.append(file.name)
            else:
                self._sha256[file.name] = hashed.sha256
                self._link(file)
        return removed

    def _require_room(self, missing: list[SourceFile]) -> None:
        needed = sum(self._cache.missing_bytes(self._commit, file) for file in missing)
        place = next(
            folder for folder in (self._cache.folder, *self._cache.folder.parents) if folder.exists()
        )
        free = shutil.disk_usage(place).free
        if needed > free:
            raise NoRoomError(
                f"{self._repository}: {amount(needed)} are still to come, and {place} has "
                f"{amount(free)} free; free some, or set HF_HOME to a folder on another disk"
            )

    def _download(self, file: SourceFile, counter: _Counter) -> None:
        counter.tell(file.name)
        download = Download(
            self._hub,
            self._repository,
            self._commit,
            file,
            moved=lambda n: counter.move(file.name, n),
            waiting=lambda note: counter.tell(file.name, note),
        )
        self._sha256[file.name] = download.run()
        self._received += download.received_bytes
        self._link(file)

    def _link(self, file: SourceFile) -> None:
        try:
            self._cache.link(self._commit, file)
        except OSError as error:
            raise SourceError(
                f"the Hub's cache {self._settings.cache} cannot be written ({error.strerror or error}): "
                "set HF_HOME to a folder that can"
            ) from error

    def _weights(self) -> list[SourceFile]:
        """The planned files of weights that belong to the model. Raises SourceError where its index names others."""
        planned = [file for file in self._source.files if _is_weights(file)]
        if INDEX not in self._sha256:
            return planned
        names = set(indexed_files(self._cache.pointer(self._commit, INDEX)))
        unknown = names - {file.name for file in planned}
        if unknown:
            raise SourceError(f"{INDEX} of {self._repository} names {min(unknown)}, which is not there")
        return [file for file in planned if file.name in names]

    def _fetched(self, files: list[SourceFile]) -> Fetched:
        with suppress(OSError):  # a cache that may only be read is as good
            self._cache.remember(self._source.branch, self._commit)
        paths = [self._cache.pointer(self._commit, file.name) for file in files]
        precision: Precision | None
        if self._source.kind == "safetensors":
            path = self._cache.pointer(self._commit, "config.json").parent
            precision = precision_of(path, tuple(file.name for file in files if _is_weights(file)))
        else:
            path = paths[0]
            headers = part_headers(tuple(paths))
            precision = None if self._source.preset else full_precision(path, headers)
        return Fetched(
            source=self._source,
            path=path,
            files=tuple(
                FetchedFile(name=file.name, path=place, bytes=file.bytes, sha256=self._sha256[file.name])
                for file, place in zip(files, paths, strict=True)
            ),
            precision=precision,
            downloaded_bytes=self._received,
        )


class _Counter:
    """Bytes of one phase over all files, told to the caller some times a second."""

    def __init__(self, phase: Literal["checking", "downloading"], total: int, report: Report) -> None:
        self.total = total
        self._phase: Literal["checking", "downloading"] = phase
        self._done = 0
        self._report = report
        self._told_at = -math.inf

    def tell(self, name: str, note: str | None = None) -> None:
        self._told_at = time.monotonic()
        phase = "waiting" if note else self._phase
        self._report(FetchProgress(phase, name, self._done, self.total, note))

    def move(self, name: str, n: int) -> None:
        self._done += n
        if self._done >= self.total or time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self.tell(name)


def _is_weights(file: SourceFile) -> bool:
    return file.name.lower().endswith((".safetensors", ".gguf"))


def _hashed(path: Path, file: SourceFile, counter: _Counter) -> FetchedFile | None:
    """The file with its hash, or None where that is not the one it should have."""
    counter.tell(file.name)
    digest = hash_file(path, file, lambda n: counter.move(file.name, n))
    if not digest.fits():
        return None
    return FetchedFile(name=file.name, path=path, bytes=file.bytes, sha256=digest.sha256)
