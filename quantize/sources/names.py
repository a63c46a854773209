"""Names that come from the Hub or from an index file, and which of them may become paths here."""

from __future__ import annotations

import re

MAX_FILE_BYTES = 1 << 44
"""No file of a model comes near 17 TB: a larger number is a mistake or malice."""

_REPOSITORY = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"(?!.*(?:\.\.|//))[A-Za-z0-9][\w./-]{0,199}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_NAME_BYTES = 512
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")


def is_repository(text: str) -> bool:
    """True for "organization/name" as the Hub writes it, which is also safe as the name of a folder."""
    return _REPOSITORY.fullmatch(text) is not None and not text.endswith((".", ".git"))


def is_revision(text: str) -> bool:
    """True for what can be a branch, a tag or a commit ("main", "refs/pr/4")."""
    return _REVISION.fullmatch(text) is not None and is_safe(text)


def is_commit(text: str) -> bool:
    """True for a whole commit hash."""
    return _COMMIT.fullmatch(text) is not None


def is_sha256(text: str) -> bool:
    """True for a SHA-256 in hexadecimal digits."""
    return _SHA256.fullmatch(text) is not None


def is_safe(name: str) -> bool:
    """True for a file's name that stays inside its folder on every system: "BF16/model.gguf"."""
    return (
        len(name.encode(errors="replace")) <= _MAX_NAME_BYTES
        and name.isprintable()
        and not set(name) & set('\\:*?"<>|')
        and all(step not in ("", ".", "..") for step in name.split("/"))
    )


def part_of(stem: str) -> tuple[str, int, int]:
    """("model", 2, 3) for "model-00002-of-00003"; ("model", 1, 1) for a name that is no part of something."""
    match = _PART.fullmatch(stem)
    if match is None:
        return stem, 1, 1
    return match["stem"], int(match["number"]), int(match["count"])
