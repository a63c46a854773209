"""The deployment manifest: one deployment pinned, with what must hold where it runs.

It is written by `slm-advisor pin`, travels with the model file, and is what `verify` holds a target against and
`export` makes settings from. Nobody edits it by hand: its `digest` is of its own bytes, so that a manifest in which a
single byte has changed is refused, and a signature beside it (`advisor.signing`) says who wrote it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from advisor.errors import InvalidInputError
from advisor.evidence import Value
from advisor.gate import Limits
from advisor.kv_cache import KV_TYPES
from advisor.workload import MAX_CONTEXT, Workload
from profiles.device import Backend
from profiles.engine.protocol import FlashAttention
from profiles.files import read_at_most
from quantize.fidelity import Fidelity
from quantize.manifest import FileNote, RecipeNote, SourceNote

SCHEMA: Final = "slm-advisor/deployment"
SCHEMA_VERSION = 1
FILE_NAME = "deployment.json"
MAX_BYTES = 4 << 20

_Count = Annotated[int, msgspec.Meta(ge=1, le=MAX_CONTEXT)]
_Layers = Annotated[int, msgspec.Meta(ge=0, le=10_000)]
_Threads = Annotated[int, msgspec.Meta(ge=1, le=4096)]
_Bytes = Annotated[int, msgspec.Meta(ge=0)]
_NotNegative = Annotated[float, msgspec.Meta(ge=0)]

_NO_DIGEST = "0" * 64
_PLAIN_NAME = re.compile(r"[\w+@(][\w.+@()\[\]: -]{0,254}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(rb'"digest": "([0-9a-f]{64})"')


class InvalidManifestError(InvalidInputError):
    """A file that is no deployment manifest, or one that was changed; the message says which and what to do."""


class PinnedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model, by the catalog's id and name; `license` is the catalog's, else the source's."""

    id: str
    name: str
    family: str
    parameters: int
    license: str | None = None
    license_class: str | None = None


class PinnedSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it is run. `offload_layers` counts as llama.cpp does: `n_layer` + 1 is everything, 0 nothing."""

    context_length: _Count
    type_k: str
    type_v: str
    micro_batch: _Count
    offload_layers: _Layers
    n_layer: _Layers
    threads: _Threads | None = None
    threads_batch: _Threads | None = None  # for processing prompts; null: as `threads`
    flash_attention: FlashAttention = "auto"


class PinnedDevice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The device the deployment was chosen for; `fingerprint` null where it was not this machine."""

    name: str | None = None
    class_: str | None = msgspec.field(name="class", default=None)
    fingerprint: str | None = None


class Speeds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Speeds and memory of the deployment, predicted or measured, each with its interval and grade.

    pp is over `n_prompt` tokens behind `depth` others, tg over `n_gen`, ttft_s seconds for the prompt. Memory is
    what the engine allocates where predicted, what the process had resident at most where measured.
    """

    n_prompt: _Count | None = None
    n_gen: _Count | None = None
    depth: Annotated[int, msgspec.Meta(ge=0, le=MAX_CONTEXT)] = 0
    pp_tokens_per_s: Value | None = None
    tg_tokens_per_s: Value | None = None
    ttft_s: Value | None = None
    memory_bytes: Value | None = None


class Requirements(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must hold on the target; null asks for nothing. Units are in the names.

    `max_memory_bytes` is of host and accelerator together. `licenses` are classes or names, one of which the model's
    must be. That the file is the pinned one and that the deployment fits into the memory there is always required.
    """

    max_memory_bytes: _Bytes | None = None
    min_pp_tokens_per_s: _NotNegative | None = None
    min_tg_tokens_per_s: _NotNegative | None = None
    max_ttft_s: _NotNegative | None = None
    fidelity: Limits = Limits()
    licenses: tuple[str, ...] = ()


class DeploymentManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One deployment. `file` is null for one that was pinned before there was a file."""

    schema: Literal["slm-advisor/deployment"] = SCHEMA
    schema_version: int = SCHEMA_VERSION
    digest: str = _NO_DIGEST  # SHA-256 of the file with 64 zeros in this place
    tool_version: str
    catalog_version: str
    pinned_at: str  # UTC, ISO 8601
    model: PinnedModel
    variant: str
    file: FileNote | None = None
    bytes_by_type: dict[str, int] = {}  # of the file's tensors, or of the catalog's variant
    source: SourceNote | None = None
    recipe: RecipeNote | None = None
    backend: Backend
    settings: PinnedSettings
    engine: str | None = None  # identity of the one that what was measured was measured with
    device: PinnedDevice
    workload: Workload
    predicted: Speeds | None = None
    measured: Speeds | None = None
    fidelity: Fidelity | None = None
    requires: Requirements = Requirements()
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.model.name}:{self.variant}"


def encode_manifest(manifest: DeploymentManifest) -> bytes:
    """The manifest as it is written: indented JSON with its digest filled in."""
    blank = msgspec.structs.replace(manifest, digest=_NO_DIGEST)
    content = msgspec.json.format(msgspec.json.encode(blank), indent=2) + b"\n"
    digest = hashlib.sha256(content).hexdigest()
    return content.replace(f'"digest": "{_NO_DIGEST}"'.encode(), f'"digest": "{digest}"'.encode(), 1)


def decode_manifest(content: bytes, name: str) -> DeploymentManifest:
    """The manifest in `content`; `name` is what messages call it.

    Raises InvalidManifestError for what is none, for another schema version, and for content whose digest is not its
    own: in this order, so that a newer program's manifest is not called a forgery.
    """
    try:
        head = msgspec.json.decode(content, type=_Head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidManifestError(f"{name} is no deployment manifest: {error}") from error
    if head.schema != SCHEMA:
        raise InvalidManifestError(
            f"{name} is no deployment manifest: its schema is {head.schema!r}; 'slm-advisor pin' makes one"
        )
    if head.schema_version != SCHEMA_VERSION:
        raise InvalidManifestError(
            f"{name} has schema version {head.schema_version}, and this program reads {SCHEMA_VERSION}: "
            + ("update it" if head.schema_version > SCHEMA_VERSION else "pin the deployment again")
        )
    digests = _DIGEST.findall(content)
    blank = _DIGEST.sub(f'"digest": "{_NO_DIGEST}"'.encode(), content)
    if len(digests) != 1 or hashlib.sha256(blank).hexdigest().encode() != digests[0]:
        raise InvalidManifestError(
            f"{name} was changed after it was pinned: its digest is not that of its content; "
            "fetch it again, or pin the deployment again to change what it requires"
        )
    try:
        manifest = msgspec.json.decode(content, type=DeploymentManifest)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidManifestError(f"{name} is no deployment manifest: {error}") from error
    for kind in (manifest.settings.type_k, manifest.settings.type_v):
        if kind not in KV_TYPES:
            raise InvalidManifestError(
                f"{name} has a KV cache of type {kind!r}, which the engine does not know"
            )
    file = manifest.file
    # The name is joined to a folder, and written into scripts.
    if file is not None and (
        not _PLAIN_NAME.fullmatch(file.name) or not _SHA256.fullmatch(file.sha256) or file.bytes < 1
    ):
        raise InvalidManifestError(f"{name} names a file that cannot be: {file.name!r}")
    return manifest


def read_manifest(path: Path) -> DeploymentManifest:
    """The manifest in the file `path`, or in the folder `path`. Raises InvalidManifestError."""
    return decode_manifest(read_manifest_bytes(path), str(path))


def read_manifest_bytes(path: Path) -> bytes:
    """The bytes of a manifest's file, which is what a signature is of. Raises InvalidManifestError."""
    path = path / FILE_NAME if path.is_dir() else path
    try:
        return read_at_most(path, MAX_BYTES)
    except OSError as error:
        raise InvalidManifestError(f"{path} cannot be read: {error.strerror or error}") from error


class _Head(msgspec.Struct):
    schema: str
    schema_version: int
