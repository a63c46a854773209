"""Bring one file of the Hub into its cache, going on where an earlier try was cut.

huggingface_hub's own download starts anew in every process (release 2.4 keeps no partial file), and files
here have gigabytes: so the bytes are taken by HTTP with a range, hashed on the way, and moved into the cache only once
their hash is what the Hub had announced. Xet, which has no half files, is not used.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from profiles.text import amount
from quantize.errors import HubError, NoRoomError, SourceError, WrongContentError
from quantize.room import FULL
from quantize.sources.cache import RepositoryCache
from quantize.sources.hub import Hub, TransientError, persist
from quantize.sources.source import SourceFile

_READ_BYTES = 1 << 20
_LOCK_S = 1.0  # between two words to whoever waits for another process


class Digest:
    """SHA-256 of what passes and, for a file the Hub has in git, the hash that git gives it."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._git = None
        if file.git_oid is not None:
            self._git = hashlib.sha1(b"blob %d\0" % file.bytes, usedforsecurity=False)

    def update(self, data: bytes) -> None:
        """Take more bytes."""
        self._sha256.update(data)
        if self._git is not None:
            self._git.update(data)

    @property
    def sha256(self) -> str:
        """Of all bytes so far."""
        return self._sha256.hexdigest()

    def fits(self) -> bool:
        """True where the bytes are those that the Hub announced; without a hash from it, any are."""
        if self._file.sha256 is not None:
            return self.sha256 == self._file.sha256
        return self._git is None or self._git.hexdigest() == self._file.git_oid


def hash_file(path: Path, file: SourceFile, moved: Callable[[int], None]) -> Digest:
    """The hashes of the file at `path`; `moved` hears of each piece."""
    digest = Digest(file)
    try:
        with path.open("rb") as source:
            while data := source.read(_READ_BYTES):
                digest.update(data)
                moved(len(data))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    return digest


class Download:
    """One file on its way. `moved` hears of bytes, also negative ones when some have to be taken back."""

    def __init__(
        self,
        hub: Hub,
        repository: str,
        commit: str,
        file: SourceFile,
        *,
        moved: Callable[[int], None],
        waiting: Callable[[str], None],
    ) -> None:
        self._hub = hub
        self._repository = repository
        self._commit = commit
        self._file = file
        self._moved = moved
        self._waiting = waiting
        self._cache = RepositoryCache(hub.settings.cache, repository)
        self._here = 0
        self._digest = Digest(file)
        self.received_bytes = 0

    def run(self) -> str:
        """Fetch the file and return its SHA-256.

        Raises HubError where the Hub fails again and again (what has come stays), WrongContentError where the hash is
        another one, NoRoomError, and SourceError where the cache cannot be written.
        """
        from huggingface_hub.utils import WeakFileLock

        try:
            lock = self._cache.lock(self._file)
            lock.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as held:
                while True:
                    try:
                        held.enter_context(WeakFileLock(lock, timeout=_LOCK_S))
                        break
                    except TimeoutError:
                        self._waiting("another process is downloading it")
                return self._locked()
        except OSError as error:
            if error.errno in FULL:
                raise NoRoomError(
                    f"the disk of {self._hub.settings.cache} is full, with {self._so_far()}; free some, "
                    "or set HF_HOME to a folder on another disk"
                ) from error
            raise SourceError(
                f"the Hub's cache {self._hub.settings.cache} cannot be written "
                f"({error.strerror or error}): set HF_HOME to a folder that can"
            ) from error

    def _locked(self) -> str:
        blob, partial = self._cache.blob(self._file), self._cache.partial(self._file)
        blob.parent.mkdir(parents=True, exist_ok=True)
        if blob.is_file():  # another process was faster
            digest = hash_file(blob, self._file, self._moved)
            if digest.fits():
                return digest.sha256
            self._moved(-blob.stat().st_size)
            blob.unlink()
        with partial.open("ab+") as out:
            resumed = self._take_up(out)
            self._complete(out)
            if not self._digest.fits() and resumed:
                self._start_over(out)  # what an earlier run left may have been the trouble
                self._complete(out)
        if not self._digest.fits():
            partial.unlink()
            raise WrongContentError(
                f"{self._file.name} of {self._repository} came with another hash than the Hub announces "
                f"(SHA-256 {self._digest.sha256[:16]}...): it was removed; try again, or use another HF_ENDPOINT"
            )
        partial.replace(blob)
        return self._digest.sha256

    def _take_up(self, out: BinaryIO) -> bool:
        """Hash what an earlier run left. True if it left something."""
        out.seek(0)
        while data := out.read(_READ_BYTES):
            self._digest.update(data)
            self._here += len(data)
            self._moved(len(data))
        if self._here > self._file.bytes:
            self._start_over(out)
        return self._here > 0

    def _start_over(self, out: BinaryIO) -> None:
        out.truncate(0)
        self._moved(-self._here)
        self._here = 0
        self._digest = Digest(self._file)

    def _complete(self, out: BinaryIO) -> None:
        if self._here == self._file.bytes:
            return
        try:
            persist(
                self._hub.patience,
                lambda: self._receive(out),
                f"{self._file.name} of {self._repository}",
                progress=lambda: self._here,
                waiting=self._waiting,
            )
        except WrongContentError:
            raise
        except HubError as error:
            raise HubError(f"{error}; {self._so_far()}, and the same command goes on from there") from None

    def _so_far(self) -> str:
        return f"{amount(self._here)} of {amount(self._file.bytes)} here"

    def _receive(self, out: BinaryIO) -> None:
        """One request for what is missing. Raises TransientError when it ends too early."""
        with self._hub.bytes_of(self._repository, self._commit, self._file.name, self._here) as response:
            status = response.status_code
            if status == 416 or (status == 206 and not self._continues(response.headers)):
                self._start_over(out)
                raise TransientError("the server did not send the part that was asked for")
            if status == 403 and response.history and "X-Error-Code" not in response.headers:
                raise TransientError("the address that the Hub gave for the file was refused")
            self._hub.refuse(response, self._repository, self._file.name)
            if status != 206:
                self._check_whole(response.headers)
                if self._here:
                    self._start_over(out)
            for data in response.iter_bytes():
                if self._here + len(data) > self._file.bytes:
                    raise self._wrong_size("more bytes")
                out.write(data)
                self._digest.update(data)
                self._here += len(data)
                self.received_bytes += len(data)
                self._moved(len(data))
        if self._here < self._file.bytes:
            raise TransientError("the connection was cut")

    def _continues(self, headers: Mapping[str, str]) -> bool:
        """True where a partial answer begins where this file ends and belongs to a file of the right size."""
        match = re.fullmatch(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15}|\*)", headers.get("Content-Range", ""))
        return match is not None and int(match[1]) == self._here and match[2] in ("*", str(self._file.bytes))

    def _check_whole(self, headers: Mapping[str, str]) -> None:
        """A web page instead of the file must not be mixed with what is here."""
        if headers.get("Content-Type", "").startswith("text/html"):
            raise self._wrong_size("a web page")
        length = headers.get("Content-Length", "")
        if length.isdecimal() and "Content-Encoding" not in headers and int(length) != self._file.bytes:
            raise self._wrong_size(f"{int(length):,} bytes")

    def _wrong_size(self, what: str) -> WrongContentError:
        return WrongContentError(
            f"{self._file.name} of {self._repository} comes as {what} instead of {self._file.bytes:,} bytes: "
            "a proxy or a log-in page may be in between"
        )
