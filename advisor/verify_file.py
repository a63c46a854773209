"""The file of a deployment, for `verify`: size, hash, tensors and model, each held against the manifest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from advisor.catalog import load_catalog
from advisor.errors import AdvisorError, InvalidInputError
from advisor.held_file import HeldFile
from advisor.identify import ModelFile, identify
from advisor.manifest import DeploymentManifest
from advisor.verify_checks import Check
from quantize.errors import QuantizeError


def check_file(
    path: Path | None,
    manifest: DeploymentManifest,
    checks: list[Check],
    stack: ExitStack,
    progress: Callable[[str], None],
) -> tuple[HeldFile | None, ModelFile | None]:
    """Size, hash, tensors and model of the file at `path`; None where there is none, or it is no model.

    Adds its checks to `checks`, and to `stack` what keeps the file open.
    """
    pinned = manifest.file
    if path is None:
        message = "it was pinned before there was a file: pin it again with one, or give --file"
        checks.append(Check(id="file", title="File", status="unknown", message=message))
        return None, None
    try:
        held = stack.enter_context(HeldFile(path))
    except InvalidInputError as error:
        checks.append(Check(id="file", title="File", status="fail", message=str(error)))
        return None, None
    if pinned is None:
        message = "it was pinned before there was a file, so its hash is not known"
        checks.append(Check(id="sha256", title="SHA-256", status="unknown", message=message))
    elif held.size_bytes != pinned.bytes:
        message = f"{path.name} has {held.size_bytes:,} bytes, {pinned.bytes:,} are pinned"
        checks.append(Check(id="file", title="File", status="fail", message=message))
    else:
        checks.append(Check(id="file", title="File", status="pass", found=f"{pinned.bytes:,} bytes"))
        progress("hashing the file")
        checks.append(_hash_check(held, pinned.sha256))
    try:
        file = identify(path, load_catalog())
    except (QuantizeError, AdvisorError) as error:
        checks.append(Check(id="tensors", title="Tensors", status="fail", message=str(error)))
        return held, None
    checks.append(_tensor_check(file, manifest))
    checks.append(_model_check(file, manifest))
    return held, file


def is_pinned_file(manifest: DeploymentManifest, checks: list[Check]) -> bool:
    """Whether `checks`, those of a file, say that it is the pinned one."""
    return manifest.file is not None and all(
        check.status == "pass" for check in checks if check.id in ("file", "sha256")
    )


def _hash_check(held: HeldFile, pinned: str) -> Check:
    check = Check(id="sha256", title="SHA-256", status="pass", required=pinned, found=pinned)
    try:
        found = held.sha256()
    except OSError as error:
        message = f"{held.path} cannot be read: {error.strerror or error}"
        return msgspec.structs.replace(check, status="fail", found=None, message=message)
    if found == pinned:
        return check
    return msgspec.structs.replace(
        check, status="fail", found=found, message="another file than the pinned one, or a damaged copy of it"
    )


def _tensor_check(file: ModelFile, manifest: DeploymentManifest) -> Check:
    """Types and bytes of the tensors, by the header."""
    found, pinned = file.variant.bytes_by_type, manifest.bytes_by_type
    wrong = [
        f"{kind}: {found.get(kind, 0):,} bytes, pinned {pinned.get(kind, 0):,}"
        for kind in sorted(found.keys() | pinned.keys())
        if found.get(kind, 0) != pinned.get(kind, 0)
    ]
    return Check(
        id="tensors",
        title="Tensors",
        status="fail" if wrong else "pass",
        message="; ".join(wrong[:3]),
        found=", ".join(sorted(found)),
    )


def _model_check(file: ModelFile, manifest: DeploymentManifest) -> Check:
    """The model that the header names; where it names none, one of the same number of parameters may be it."""
    check = Check(id="model", title="Model", status="pass", required=manifest.model.id)
    if file.model is not None and file.model.id == manifest.model.id:
        return msgspec.structs.replace(check, found=file.model.id)
    if file.model is not None:
        message = f"the header is of {file.model.name}"
        return msgspec.structs.replace(check, status="fail", found=file.model.id, message=message)
    message = "the header names no model of the catalog"
    return msgspec.structs.replace(check, status="unknown", message=message)
