"""The manifest of a build: read back as written, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from quantize.errors import InvalidModelError
from quantize.manifest import (
    FileNote,
    Manifest,
    ModelNote,
    RecipeNote,
    SourceNote,
    read_manifest,
    write_manifest,
)

MANIFEST = Manifest(
    tool_version="1.2.3",
    built_at="2026-11-24T12:00:00Z",
    model=ModelNote(name="tiny", id="org/tiny", license="apache-2.0"),
    variant="Q4_K_M",
    files=(FileNote(name="tiny-Q4_K_M.gguf", bytes=4, sha256="0" * 64),),
    bytes_by_type={"Q4_K": 4},
    bits_per_weight=4.5,
    source=SourceNote(kind="gguf", origin="local", path="/models/tiny.gguf"),
    recipe=RecipeNote(method="gguf", preset="Q4_K_M", overrides=(("ffn_down", "Q6_K"),)),
    tools={"llama-cpp-python": "0.3.36"},
)


def test_a_manifest_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(MANIFEST, tmp_path)
    assert read_manifest(tmp_path) == MANIFEST
    assert read_manifest(tmp_path / "manifest.json") == MANIFEST


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"schema": "slm-advisor/bench"}, "no build manifest"),
        ({"files": "none"}, "files"),
        ({"variant": 7}, "variant"),
    ],
)
def test_another_document_is_refused_and_the_field_named(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    document = {**msgspec.to_builtins(MANIFEST), **change}
    (tmp_path / "manifest.json").write_bytes(msgspec.json.encode(document))
    with pytest.raises(InvalidModelError, match=words):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"schema": "slm-advisor/build"}', b"\xff\xfe"]
)
def test_rubbish_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(InvalidModelError, match=r"manifest\.json"):
        read_manifest(path)
    with pytest.raises(InvalidModelError, match="cannot be read"):
        read_manifest(tmp_path / "no-such" / "manifest.json")
