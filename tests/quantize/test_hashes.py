"""SHA-256 of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from quantize.errors import InvalidModelError
from quantize.hashes import sha256_of


def test_the_digest_is_the_files_and_progress_is_told(tmp_path: Path) -> None:
    """As sha256sum says; the last report is the whole file."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 40_000)
    told: list[tuple[int, int]] = []
    assert sha256_of(path, lambda *now: told.append(now)) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(told) == 3
    assert told[-1] == (10_240_000, 10_240_000)
    with pytest.raises(InvalidModelError, match="no-such"):
        sha256_of(tmp_path / "no-such")
