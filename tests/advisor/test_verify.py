"""`slm-advisor verify`: what passes, what fails and what nobody can say, with the exit codes of each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import msgspec
import pytest

from advisor.cli.schema import schema_of
from advisor.evidence import Value
from advisor.gate import Limits
from advisor.held_file import HeldFile
from advisor.manifest import (
    DeploymentManifest,
    PinnedDevice,
    PinnedModel,
    PinnedSettings,
    Requirements,
    encode_manifest,
)
from advisor.report.verify_report import junit_text, sarif_document
from advisor.verify import Verification
from advisor.verify_checks import Check, fidelity_checks, limit, verdict
from advisor.workload import make_workload
from quantize.fidelity import Fidelity, Measure
from quantize.hashes import sha256_of
from quantize.manifest import FileNote
from tests.advisor.conftest import Call

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def manifest_of(file: Path | None, requires: Requirements | None = None) -> DeploymentManifest:
    """SmolLM2 at Q4_1 with a small context."""
    from advisor.catalog import load_catalog
    from advisor.identify import identify

    sizes = {} if file is None else identify(file, load_catalog()).variant.bytes_by_type
    note = None
    if file is not None:
        note = FileNote(name=file.name, bytes=file.stat().st_size, sha256=sha256_of(file))
    return DeploymentManifest(
        tool_version="0",
        catalog_version="0",
        pinned_at="2026-11-24T00:00:00Z",
        model=PinnedModel(
            id=MODEL,
            name="SmolLM2-135M-Instruct",
            family="smollm2",
            parameters=134_515_008,
            license="apache-2.0",
            license_class="permissive",
        ),
        variant="Q4_1",
        file=note,
        bytes_by_type=dict(sizes),
        backend="cpu",
        settings=PinnedSettings(
            context_length=512,
            type_k="f16",
            type_v="f16",
            micro_batch=128,
            offload_layers=0,
            n_layer=30,
            threads=1,
        ),
        device=PinnedDevice(),
        workload=make_workload(context_length=512, prompt_tokens=32, answer_tokens=8),
        requires=requires or Requirements(),
    )


def written(folder: Path, manifest: DeploymentManifest) -> Path:
    path = folder / "deployment.json"
    path.write_bytes(encode_manifest(manifest))
    return path


def statuses(out: str) -> dict[str, str]:
    document = json.loads(out)
    jsonschema.validate(document, schema_of("verification"))
    return {check["id"]: check["status"] for check in document["checks"]}


# --- the rule -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relation", "required", "status"),
    [
        ("at least", 9.0, "pass"),
        ("at least", 9.5, "unknown"),
        ("at least", 12.0, "fail"),
        ("at most", 11.0, "pass"),
        ("at most", 10.5, "unknown"),
        ("at most", 8.0, "fail"),
    ],
)
def test_a_limit_inside_the_interval_is_too_close_to_call(
    relation: str, required: float, status: str
) -> None:
    """The value is 10, its interval 9 to 11: the same rule for floors and ceilings."""
    check = limit("x", "X", relation, required, Value(10, 9, 11), "tokens/s")  # type: ignore[arg-type]
    assert check.status == status
    assert check.margin is not None
    assert (check.margin > 0) == ((required < 10) == (relation == "at least"))


def test_one_failure_outweighs_what_is_unknown_and_nothing_checked_is_no_pass() -> None:
    """The order of the exit codes: 3 before 4 before 0."""
    passed, failed, unknown = (
        Check(id=status, title=status, status=status)  # type: ignore[arg-type]
        for status in ("pass", "fail", "unknown")
    )
    assert verdict((passed, unknown, failed)) == "fail"
    assert verdict((passed, unknown)) == "unknown"
    assert verdict((passed,)) == "pass"
    assert verdict(()) == "unknown"


def test_fidelity_holds_only_of_the_file_it_was_measured_of(smollm2: Path) -> None:
    """Without the pinned file, or without a measurement, a limit is unknown."""
    near = Measure(0.01, 0.001)
    fidelity = Fidelity(
        perplexity=Measure(10, 0.1),
        reference_perplexity=Measure(10, 0.1),
        perplexity_increase=near,
        kl_divergence=near,
        kl_divergence_p99=near,
        same_top=Measure(0.9, 0.01),
        predictions=1000,
        chunks=10,
        context=512,
        text="text",
        text_sha256="0" * 64,
        seconds=1.0,
    )
    requires = Requirements(fidelity=Limits(max_kld=0.05, min_same_top=0.95, max_ppl_increase=0.0105))
    manifest = msgspec.structs.replace(manifest_of(None, requires), fidelity=fidelity)
    found = {check.id: check.status for check in fidelity_checks(manifest, same_file=True)}
    assert found == {"kl-divergence": "pass", "same-top": "fail", "perplexity-increase": "unknown"}
    assert {check.status for check in fidelity_checks(manifest, same_file=False)} == {"unknown"}
    bare = manifest_of(None, requires)
    assert {check.status for check in fidelity_checks(bare, same_file=True)} == {"unknown"}


# --- the file -------------------------------------------------------------------------------------------------


def test_a_file_that_is_swapped_or_written_to_while_it_is_held_is_noticed(tmp_path: Path) -> None:
    """What is loaded is what was hashed, even under another file's name."""
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"first")
    other.write_bytes(b"other")
    with HeldFile(path) as held:
        before = held.sha256()
        assert held.change() is None
        other.replace(path)
        assert held.sha256() == before
        if held.load_path != path:
            assert held.load_path.read_bytes() == b"first"
        assert held.change() == "was replaced by another file"
    with HeldFile(path) as held:
        with path.open("r+b") as file:
            file.write(b"longer than before")
        assert held.change() == "was written to"
        path.unlink()
        assert "no longer there" in str(held.change())


def test_a_file_in_which_one_byte_differs_fails_by_its_hash(
    call: Call, smollm2: Path, tmp_path: Path
) -> None:
    """Of the same size, with the same header: exit code 3, and nothing of it is run."""
    copy = shutil.copy(smollm2, tmp_path / smollm2.name)
    path = written(tmp_path, manifest_of(copy))
    with copy.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    code, out, _ = call("verify", path, "--json")
    found = statuses(out)
    assert code == 3
    assert (found["file"], found["sha256"], found["tensors"]) == ("pass", "fail", "pass")
    assert found["run"] == "unknown"
    copy.unlink()
    code, out, _ = call("verify", path, "--json")
    assert (code, statuses(out)["file"]) == (3, "fail")


def test_a_manifest_that_was_changed_or_is_of_another_version_is_bad_input(
    call: Call, tmp_path: Path
) -> None:
    """Exit code 2, and the message says which."""
    path = written(tmp_path, manifest_of(None))
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"threads": 1', b'"threads": 2'))
    code, _, err = call("verify", path)
    assert (code, "was changed" in err) == (2, True)
    path.write_bytes(content.replace(b'"schema_version": 1', b'"schema_version": 9'))
    code, _, err = call("verify", path)
    assert (code, "schema version 9" in err) == (2, True)


def test_a_deployment_pinned_before_there_was_a_file_cannot_pass(call: Call, tmp_path: Path) -> None:
    """Its hash is unknown: exit code 4, and the estimate is called one."""
    path = written(
        tmp_path, manifest_of(None, Requirements(min_tg_tokens_per_s=0.001, licenses=("permissive",)))
    )
    code, out, _ = call("verify", path, "--no-run", "--json")
    found = statuses(out)
    assert code == 4
    assert (found["file"], found["license"]) == ("unknown", "pass")
    assert json.loads(out)["mode"] == "estimate"
    code, out, _ = call("verify", path, "--no-run")
    assert "by estimate only" in out
    assert max(map(len, out.splitlines())) <= 80


# --- the signature --------------------------------------------------------------------------------------------


def test_nothing_is_believed_of_a_manifest_without_a_good_signature(call: Call, tmp_path: Path) -> None:
    """A missing or another key's signature fails, and no other check is made."""
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    from cryptography.hazmat.primitives import serialization as forms

    def key(name: str) -> tuple[Path, Path]:
        private = ed25519.Ed25519PrivateKey.generate()
        pem, public = tmp_path / f"{name}.pem", tmp_path / f"{name}.pub"
        pem.write_bytes(
            private.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
        )
        public.write_bytes(
            private.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
        )
        return pem, public

    from advisor.signing import sign

    path = written(tmp_path, manifest_of(None))
    ours, public = key("ours")
    _, foreign = key("foreign")
    code, out, _ = call("verify", path, "--no-run", "--verify-key", public, "--json")
    assert (code, statuses(out)) == (3, {"signature": "fail"})
    path.with_name("deployment.json.sig").write_bytes(sign(path.read_bytes(), ours))
    code, out, _ = call("verify", path, "--no-run", "--verify-key", foreign, "--json")
    assert (code, statuses(out)) == (3, {"signature": "fail"})
    assert json.loads(out)["deployment"] is None
    code, out, _ = call("verify", path, "--no-run", "--verify-key", public, "--json")
    assert (code, statuses(out)["signature"]) == (4, "pass")


# --- the run --------------------------------------------------------------------------------------------------


@pytest.mark.engine
def test_a_deployment_that_holds_passes_and_one_that_is_too_slow_fails(
    call: Call, smollm2: Path, tmp_path: Path
) -> None:
    """Exit codes 0 and 3 with measured numbers, and the documents for machines beside the table."""
    easy = Requirements(
        max_memory_bytes=2_000_000_000,
        min_tg_tokens_per_s=0.5,
        min_pp_tokens_per_s=0.5,
        max_ttft_s=100.0,
        licenses=("permissive",),
    )
    path = written(tmp_path, manifest_of(smollm2, easy))
    code, out, err = call("verify", path, "--file", smollm2, "--under-load", "--json")
    found = statuses(out)
    assert code == 0, (found, err)
    document = json.loads(out)
    assert document["mode"] == "run"
    assert document["measured"]["tg_tokens_per_s"]["evidence"] == "measured"
    assert document["measured"]["memory_bytes"]["value"] > 90_000_000
    assert {"file", "sha256", "tensors", "model", "engine", "memory", "run", "unchanged"} <= found.keys()

    hard = msgspec.structs.replace(easy, min_tg_tokens_per_s=1e6, max_memory_bytes=1_000_000)
    path = written(tmp_path, manifest_of(smollm2, hard))
    junit, sarif = tmp_path / "v.xml", tmp_path / "v.sarif"
    code, out, _ = call("verify", path, "--file", smollm2, "--under-load", "--junit", junit, "--sarif", sarif)
    assert code == 3
    assert "FAIL" in out
    assert max(map(len, out.splitlines())) <= 80
    assert ElementTree.parse(junit).getroot().attrib["failures"] == "2"
    results = json.loads(sarif.read_text())["runs"][0]["results"]
    assert {result["ruleId"] for result in results} == {"token-generation", "memory-budget"}
    lines = path.read_text().splitlines()
    asked = [
        lines[result["locations"][0]["physicalLocation"]["region"]["startLine"] - 1] for result in results
    ]
    assert sorted(line.split('"')[1] for line in asked) == ["max_memory_bytes", "min_tg_tokens_per_s"]


def test_without_an_engine_the_file_is_checked_and_the_exit_code_says_what_is_missing(
    call: Call, smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5, unless something fails."""
    absent = tmp_path / "absent"
    (absent / "llama_cpp").mkdir(parents=True)
    (absent / "llama_cpp" / "__init__.py").write_text("raise ImportError('not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(absent))
    path = written(tmp_path, manifest_of(smollm2))
    code, out, _ = call("verify", path, "--file", smollm2, "--json")
    assert (code, statuses(out)["engine"]) == (5, "unknown")


# --- documents for machines -----------------------------------------------------------------------------------


def test_junit_counts_what_is_unknown_as_an_error_and_survives_any_text() -> None:
    """A gate must not pass over it; control characters and brackets of a message are kept out of the markup."""
    checks = (
        Check(id="a", title="A", status="pass"),
        Check(id="b", title="B", status="fail", message='<"&>\x00\x1b'),
        Check(id="c", title="C", status="unknown", message="why"),
    )
    result = Verification(
        manifest="a b.json", deployment="x", mode="run", verdict="fail", exit_code=3, checks=checks
    )
    root = ElementTree.fromstring(junit_text(result))
    (suite,) = root
    assert root.tag == "testsuites"
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["errors"]) == ("3", "1", "1")
    assert [[child.tag for child in case] for case in suite] == [[], ["failure"], ["error"]]
    assert suite[1][0].attrib["message"] == 'B: <"&>??'
    document = sarif_document(result, "1", ['"file": {'])
    (one,) = document["runs"]
    assert [(found["ruleId"], found["kind"], found["level"]) for found in one["results"]] == [
        ("b", "fail", "error"),
        ("c", "open", "none"),
    ]
    for found in one["results"]:
        assert one["tool"]["driver"]["rules"][found["ruleIndex"]]["id"] == found["ruleId"]
        assert found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b.json"
