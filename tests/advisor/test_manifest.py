"""The deployment manifest: what it says survives the file, and a file that was touched is refused."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.cli.schema import schema_of
from advisor.manifest import (
    FILE_NAME,
    InvalidManifestError,
    decode_manifest,
    encode_manifest,
    read_manifest,
)
from quantize.manifest import FileNote
from tests.advisor.manifests import pinned

CONTENT = encode_manifest(pinned())


def test_what_was_pinned_is_read_back(tmp_path: Path) -> None:
    manifest = pinned()
    (tmp_path / FILE_NAME).write_bytes(encode_manifest(manifest))
    for path in (tmp_path, tmp_path / FILE_NAME):
        read = read_manifest(path)
        assert msgspec.structs.replace(read, digest=manifest.digest) == manifest
        assert read.requires.fidelity.max_kld == 0.05
        assert read.requires.min_tg_tokens_per_s == manifest.workload.min_tg_tokens_per_s


def test_the_written_file_follows_the_published_schema() -> None:
    jsonschema.validate(msgspec.json.decode(CONTENT), schema_of("deployment"))


@given(at=st.integers(0, len(CONTENT) - 1), byte=st.integers(0, 255))
def test_a_manifest_changed_by_one_byte_is_refused(at: int, byte: int) -> None:
    changed = bytearray(CONTENT)
    changed[at] = byte
    if bytes(changed) == CONTENT:
        return
    with pytest.raises(InvalidManifestError):
        decode_manifest(bytes(changed), "deployment.json")


@given(st.integers(0, len(CONTENT) - 1))
def test_a_cut_manifest_is_refused(length: int) -> None:
    with pytest.raises(InvalidManifestError):
        decode_manifest(CONTENT[:length], "deployment.json")


def test_a_lowered_floor_is_named_a_change() -> None:
    changed = CONTENT.replace(b'"max_kld": 0.05', b'"max_kld": 5.05')
    assert changed != CONTENT
    with pytest.raises(InvalidManifestError, match="changed after it was pinned"):
        decode_manifest(changed, "deployment.json")


def test_a_second_digest_does_not_help_a_forger() -> None:
    twice = CONTENT.replace(b'"notes": []', b'"notes": ["\\"digest\\": \\"' + b"0" * 64 + b'\\""]')
    assert twice != CONTENT
    with pytest.raises(InvalidManifestError, match="changed"):
        decode_manifest(twice, "deployment.json")


@pytest.mark.parametrize(("version", "advice"), [(2, "update it"), (0, "pin the deployment again")])
def test_another_schema_version_is_said_before_the_digest(version: int, advice: str) -> None:
    other = CONTENT.replace(b'"schema_version": 1', f'"schema_version": {version}'.encode(), 1)
    with pytest.raises(InvalidManifestError, match=advice):
        decode_manifest(other, "deployment.json")


@pytest.mark.parametrize("content", [b"", b"GGUF", b"[]", b'{"schema": "slm-advisor/build"}', b"{" * 100_000])
def test_what_is_no_manifest_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(InvalidManifestError, match="no deployment manifest"):
        decode_manifest(content, "deployment.json")


@pytest.mark.parametrize("name", ["../etc/passwd", "/etc/passwd", ".hidden", "-rf", "a\nb", "", "x" * 300])
def test_a_file_name_that_leads_elsewhere_is_refused(name: str) -> None:
    forged = encode_manifest(pinned(file=FileNote(name=name, bytes=1, sha256="ab" * 32)))
    with pytest.raises(InvalidManifestError, match="names a file"):
        decode_manifest(forged, "deployment.json")


def test_a_cache_type_the_engine_does_not_know_is_refused() -> None:
    manifest = pinned()
    settings = msgspec.structs.replace(manifest.settings, type_k="f16; rm -rf /")
    with pytest.raises(InvalidManifestError, match="KV cache"):
        decode_manifest(encode_manifest(msgspec.structs.replace(manifest, settings=settings)), "d")


def test_a_missing_file_a_pipe_and_a_huge_one_end_with_their_name(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(1 << 30)
    for path in (tmp_path / "none.json", tmp_path / "pipe", huge):
        with pytest.raises(InvalidManifestError, match=path.name):
            read_manifest(path)
