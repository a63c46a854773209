"""Deployment manifests for tests: of a catalog model on a plain laptop, with or without a file."""

from __future__ import annotations

from typing import Any

import msgspec

from advisor.catalog import load_catalog
from advisor.gate import Limits
from advisor.manifest import DeploymentManifest
from advisor.pin import find_model, make_manifest, requirements
from advisor.workload import make_workload
from quantize.manifest import FileNote
from tests.advisor.conftest import target_of

FILE = FileNote(name="gemma-3-1b-it-Q4_K_M.gguf", bytes=806_058_240, sha256="ab" * 32)


def pinned(**changes: Any) -> DeploymentManifest:
    """A manifest with a file; `changes` are fields to replace."""
    workload = make_workload(task="chat")
    found = find_model(
        load_catalog().find("gemma-3-1b-it"), "Q4_K_M", target_of("laptop", workload), workload, here=False
    )
    manifest = make_manifest(
        msgspec.structs.replace(found, file=FILE),
        requirements(workload, Limits(max_kld=0.05), 20.0),
        tool_version="0.0",
        catalog_version="test",
    )
    return msgspec.structs.replace(manifest, **changes)
