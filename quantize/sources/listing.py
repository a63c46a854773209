"""What is in a repository of the Hub: the answer of its API, parsed as something that a stranger wrote."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from quantize.errors import HubError, SourceNotFoundError
from quantize.sources.names import MAX_FILE_BYTES, is_safe
from quantize.sources.source import SourceFile


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What the Hub, or the cache, says is in a repository at a commit."""

    commit: str
    files: tuple[SourceFile, ...]
    gated: bool = False
    license: str | None = None
    weights_by_type: dict[str, int] = {}
    """Of the safetensors, by their type ("BF16"); empty where it is not said."""


_Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_FILE_BYTES)]
_Hash40 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{40}\Z")]
_Hash64 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class _Lfs(msgspec.Struct):
    sha256: _Hash64
    size: _Size


class _Sibling(msgspec.Struct, rename={"blob_id": "blobId"}):
    rfilename: str
    size: _Size | None = None
    blob_id: _Hash40 | None = None
    lfs: _Lfs | None = None


class _Answer(msgspec.Struct, rename={"card": "cardData"}):
    sha: _Hash40
    siblings: Annotated[list[_Sibling], msgspec.Meta(max_length=100_000)] = []
    gated: Any = False
    disabled: Any = False
    card: Any = None
    safetensors: Any = None


def parse_listing(body: bytes, about: str) -> Listing:
    """The list of files in the answer of /api/models/NAME/revision/COMMIT?blobs=true.

    Raises HubError for what is no such answer, and SourceNotFoundError for a repository that is switched off.
    """
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if body.lstrip()[:1] == b"<":
            raise HubError(
                f"{about} answered with a web page: a proxy or a log-in page may be in between"
            ) from error
        raise HubError(f"{about} gave an answer that is no list of files ({error})") from error
    if answer.disabled:
        raise SourceNotFoundError(f"{about} has been disabled")
    return Listing(
        commit=answer.sha,
        files=tuple(_file(sibling) for sibling in answer.siblings if is_safe(sibling.rfilename)),
        gated=bool(answer.gated),
        license=_license(answer.card),
        weights_by_type=_weights_by_type(answer.safetensors),
    )


def _file(sibling: _Sibling) -> SourceFile:
    if sibling.lfs is not None:
        return SourceFile(name=sibling.rfilename, bytes=sibling.lfs.size, sha256=sibling.lfs.sha256)
    return SourceFile(name=sibling.rfilename, bytes=sibling.size or 0, git_oid=sibling.blob_id)


def _license(card: Any) -> str | None:
    """The licence of a model card: its id, or its own name where the id is only "other"."""
    if not isinstance(card, dict):
        return None
    stated = card.get("license")
    if stated == "other":
        stated = card.get("license_name") or stated
    return stated if isinstance(stated, str) and stated.isprintable() and 0 < len(stated) <= 60 else None


def _weights_by_type(facts: Any) -> dict[str, int]:
    counts = facts.get("parameters") if isinstance(facts, dict) else None
    if not isinstance(counts, dict):
        return {}
    return {
        str(name): count
        for name, count in counts.items()
        if type(count) is int and 0 < count < MAX_FILE_BYTES
    }
