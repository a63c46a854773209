"""`slm-advisor pin`: from what was recommended, built or run to a manifest, and its signature."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from advisor.manifest import read_manifest
from advisor.signing import BadSignatureError, sign, signature_path, verify_signature
from quantize.hashes import sha256_of
from tests.advisor.conftest import Call


@pytest.fixture
def recommendation(call: Call, tmp_path: Path) -> Path:
    code, out, _ = call("recommend", "--device", "Raspberry Pi 5 8GB", "--task", "chat", "--json")
    assert code == 0
    path = tmp_path / "list.json"
    path.write_text(out)
    return path


def test_a_recommended_deployment_keeps_its_settings_and_its_floors(
    call: Call, recommendation: Path, tmp_path: Path
) -> None:
    chosen = json.loads(recommendation.read_text())["recommendations"][1]
    out = tmp_path / "pinned.json"
    code, text, _ = call("pin", recommendation, "--rank", "2", "--out", out, "--max-kld", "0.05")
    assert code == 0
    manifest = read_manifest(out)
    assert (manifest.model.id, manifest.variant) == (chosen["model"], chosen["quant"])
    assert manifest.settings.context_length == chosen["settings"]["context_length"]
    assert manifest.predicted is not None
    assert manifest.predicted.tg_tokens_per_s is not None
    assert manifest.predicted.tg_tokens_per_s.value == chosen["tg_tokens_per_s"]["value"]
    assert manifest.requires.min_tg_tokens_per_s == manifest.workload.min_tg_tokens_per_s
    assert manifest.requires.fidelity.max_kld == 0.05
    assert manifest.file is None
    assert chosen["name"] in text
    assert "first token within" in text


def test_a_model_file_is_pinned_with_its_hash_beside_it(call: Call, smollm2: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(smollm2, tmp_path / "model.gguf"))
    code, _, told = call("pin", path, "--device", "Pixel 9", "--task", "voice", "--max-ttft", "3")
    assert code == 0
    manifest = read_manifest(tmp_path)
    assert manifest.file is not None
    assert manifest.file.sha256 == sha256_of(smollm2)
    assert manifest.label == "SmolLM2-135M-Instruct:Q4_1"
    assert sum(manifest.bytes_by_type.values()) < manifest.file.bytes
    assert manifest.requires.max_ttft_s == 3
    assert manifest.device.fingerprint is None
    assert "deployment.json" in told


def test_a_manifest_that_is_there_is_replaced_only_on_request(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "d.json"
    question = ("pin", "SmolLM2-360M-Instruct:Q8_0", "--device", "Pixel 9", "--out", out)
    assert call(*question)[0] == 0
    before = out.read_bytes()
    code, _, told = call(*question, "--min-tg", "2")
    assert code == 2
    assert "--replace" in told
    assert out.read_bytes() == before
    assert call(*question, "--min-tg", "2", "--replace")[0] == 0
    assert read_manifest(out).requires.min_tg_tokens_per_s == 2


def test_what_does_not_fit_the_device_is_not_pinned(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "d.json"
    code, _, told = call("pin", "Qwen3-14B:Q8_0", "--device", "Pixel 9", "--out", out)
    assert code == 3
    assert "memory" in told
    assert not out.exists()


def test_options_that_a_recommendation_already_answers_are_refused(call: Call, recommendation: Path) -> None:
    code, _, told = call("pin", recommendation, "--task", "voice")
    assert code == 2
    assert "--task" in told


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{}", "no document to pin from"),
        ('{"schema": "slm-advisor/ledger"}', "no document to pin from"),
        ('{"schema": "slm-advisor/recommendation"}', "cannot be used"),
        ('{"schema": "slm-advisor/bench", "file": 3}', "cannot be used"),
        ("[" * 100_000, "no document to pin from"),
    ],
)
def test_documents_of_another_kind_are_refused(call: Call, tmp_path: Path, content: str, word: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    code, _, told = call("pin", path)
    assert code == 2
    assert word in told


@pytest.mark.engine
@pytest.mark.slow
def test_a_bench_gives_its_settings_and_what_was_measured(call: Call, smollm2: Path, tmp_path: Path) -> None:
    code, out, _ = call(
        "bench", smollm2, "-p", "64", "-n", "16", "-r", "2", "-t", "1", "-ub", "64", "--under-load", "--json"
    )
    assert code == 0
    (tmp_path / "bench.json").write_text(out)
    pinned = tmp_path / "d.json"
    assert (
        call("pin", tmp_path / "bench.json", "--out", pinned, "--min-tg", "0.1", "--max-ttft", "100")[0] == 0
    )
    manifest = read_manifest(pinned)
    assert manifest.settings.threads == 1
    assert manifest.settings.micro_batch == 64
    assert manifest.measured is not None
    assert (manifest.measured.n_prompt, manifest.measured.n_gen) == (64, 16)
    assert manifest.measured.tg_tokens_per_s is not None
    assert manifest.measured.tg_tokens_per_s.evidence == "measured"
    assert manifest.file is not None
    assert manifest.file.sha256 == sha256_of(smollm2)
    assert manifest.engine is not None
    assert manifest.engine.startswith("llama-cpp-python")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A key pair made by OpenSSL, as a user makes one."""
    pytest.importorskip("cryptography")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    return private, public


def test_a_signature_is_openssls_and_breaks_with_a_byte(
    call: Call, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = keys
    out = tmp_path / "d.json"
    question = ("pin", "SmolLM2-360M-Instruct:Q8_0", "--device", "Pixel 9", "--out", out)
    assert call(*question, "--sign", private)[0] == 0
    signature = signature_path(out)
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public]
    subprocess.run([*command, "-in", out, "-sigfile", signature], check=True, capture_output=True)
    verify_signature(out.read_bytes(), signature, public)
    with pytest.raises(BadSignatureError):
        verify_signature(out.read_bytes() + b" ", signature, public)
    # A manifest that is pinned anew without a key keeps no signature of the one before it.
    assert call(*question, "--replace")[0] == 0
    with pytest.raises(BadSignatureError, match="no signature"):
        verify_signature(out.read_bytes(), signature, public)


def test_what_is_no_key_is_refused_before_anything_is_written(
    call: Call, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = keys
    other = tmp_path / "rsa.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "RSA", "-out", other], check=True, capture_output=True
    )
    out = tmp_path / "d.json"
    for key in (public, other):
        code, _, told = call(
            "pin", "SmolLM2-360M-Instruct:Q8_0", "--device", "Pixel 9", "--out", out, "--sign", key
        )
        assert code == 2
        assert "ed25519" in told
        assert not out.exists()
    with pytest.raises(BadSignatureError):
        verify_signature(b"one", _written(tmp_path / "s", sign(b"another", private)), public)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
