"""`slm-advisor build` with weights from the Hub, and from safetensors: the whole way, over real HTTP."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import pytest

from advisor.catalog import load_catalog
from advisor.cli.schema import schema_of
from profiles.engine.client import Engine
from profiles.engine.protocol import LoadModel, OpenContext, RunTest
from profiles.text import amount
from profiles.throughput import require
from quantize.convert import converter_plan, expected_bytes, memory_bytes, read_folder
from quantize.gguf_header import read_header
from quantize.hashes import sha256_of
from quantize.manifest import read_manifest
from quantize.texts import HELD_OUT
from tests.advisor.conftest import Call
from tests.quantize.hub_server import OTHER_TOKEN, TOKEN, Hub, Repo
from tests.quantize.smollm2 import smollm2
from tests.quantize.tiny_folders import make_tiny_folder

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("own_hub_cache")]

MODEL = "SmolLM2-135M-Instruct"
WEIGHTS = f"HuggingFaceTB/{MODEL}"
GGUFS = f"HuggingFaceTB/{MODEL}-GGUF"
QUICK = ("--no-imatrix", "--no-fidelity")

Serve = Callable[[dict[str, Repo]], Hub]


@pytest.fixture(autouse=True)
def own_catalog() -> Iterator[None]:
    """A model that a test adds is gone for the next."""
    yield
    load_catalog.cache_clear()


def test_weights_come_from_the_hub_once_and_their_commit_is_pinned(
    call: Call, serve: Serve, smollm2_f16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dry run downloads nothing; the second build reads the cache, without the network too."""
    full = smollm2_f16.read_bytes()
    files = {"README.md": b"---\nlicense: apache-2.0\n---\n", f"{MODEL}-f16.gguf": full, "LICENSE": b"Apache"}
    hub = serve({GGUFS: Repo(files), WEIGHTS: Repo({"config.json": b"{}"})})
    given = ("build", f"{MODEL}:Q8_0", *QUICK)
    code, out, err = call(*given, "--out", tmp_path / "one", "--dry-run")
    assert code == 0, err
    assert "271 MB to" in out
    assert not [seen for seen in hub.gets(f"{MODEL}-f16.gguf") if seen.method == "GET"]

    code, _, err = call(*given, "--out", tmp_path / "one")
    assert code == 0, err
    manifest = read_manifest(tmp_path / "one" / f"{MODEL}-Q8_0")
    assert (manifest.source.repository, manifest.source.revision) == (GGUFS, hub.repos[GGUFS].commit)
    assert manifest.source.license == "apache-2.0"
    (weights,) = [file for file in manifest.source.files if file.name.endswith(".gguf")]
    assert weights.bytes == len(full)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = len(hub.requests)
    code, _, err = call(*given, "--out", tmp_path / "two")
    assert code == 0, err
    assert len(hub.requests) == before
    assert read_manifest(tmp_path / "two" / f"{MODEL}-Q8_0").files == manifest.files


def test_a_published_file_is_taken_when_it_is_what_its_name_says(
    call: Call, serve: Serve, tmp_path: Path
) -> None:
    """The real Q4_1 of SmolLM2 has exactly the catalog's tensors."""
    content = smollm2().read_bytes()
    serve({GGUFS: Repo({f"{MODEL.lower()}-q4_1.gguf": content})})
    code, out, err = call("build", f"{MODEL}:Q4_1", "--ready", "--out", tmp_path)
    assert code == 0, err
    folder = tmp_path / f"{MODEL}-Q4_1"
    manifest = read_manifest(folder)
    assert manifest.recipe.method == "published"
    assert manifest.files[0].sha256 == sha256_of(smollm2()) == sha256_of(folder / f"{MODEL}-Q4_1.gguf")
    assert "published" in out


def test_a_published_file_with_a_false_name_is_refused(call: Call, serve: Serve, tmp_path: Path) -> None:
    """Exit code 3, and nothing of it is left in the folder."""
    serve({GGUFS: Repo({f"{MODEL}-Q8_0.gguf": smollm2().read_bytes()})})
    code, _, err = call("build", f"{MODEL}:Q8_0", "--ready", "--out", tmp_path / "out")
    assert code == 3
    assert "not what the catalog expects" in err
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("token", [None, OTHER_TOKEN])
def test_a_gated_model_says_where_its_licence_is_accepted(
    call: Call, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    hub = serve({WEIGHTS: Repo({"model.safetensors": b"x", "config.json": b"{}"}, gated=True)})
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
        monkeypatch.delenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")
    code, out, err = call("build", f"{MODEL}:Q8_0", "--out", tmp_path / "out")
    assert code == 2
    assert f"{hub.url}/{WEIGHTS}" in err
    assert OTHER_TOKEN not in out + err
    assert not (tmp_path / "out").exists()


def test_without_a_network_the_exit_code_says_so(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, _, err = call("build", f"{MODEL}:Q8_0", "--out", tmp_path / "out")
    assert code == 6
    assert "cache" in err


@pytest.fixture
def tiny(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of safetensors, in the catalog as Tiny-Qwen3, of a user who has no converter yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "Tiny-Qwen3"
    make_tiny_folder("qwen3", folder)
    code, _, err = call("catalog", "add", folder)
    assert code == 0, err
    load_catalog.cache_clear()
    return folder


@pytest.mark.slow
def test_a_plan_from_safetensors_shows_what_the_converter_takes(
    call: Call, tiny: Path, tmp_path: Path
) -> None:
    """It is not installed: what it fetches and keeps, where, and a stage of its own."""
    given = ("build", "Tiny-Qwen3:Q8_0", "--source", tiny, "--out", tmp_path / "out", "--dry-run", *QUICK)
    code, out, err = call(*given, "--json")
    assert code == 0, err
    document = json.loads(out)
    jsonschema.validate(document, schema_of("build-plan"))
    needs, plan, folder = document["needs"], converter_plan(), read_folder(tiny)
    assert needs["converter"] == {
        "folder": plan.folder,
        "download_bytes": plan.download_bytes,
        "disk_bytes": plan.disk_bytes,
        "disk_free_bytes": pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1),
        "memory_bytes": plan.memory_bytes,
    }
    memory = {need["stage"]: need["memory_bytes"] for need in needs["stages"]}
    assert list(memory) == ["source", "converter", "convert", "quantize"]
    assert memory["convert"] == memory_bytes(folder)
    assert needs["disk_bytes"] == needs["result_bytes"] + expected_bytes(folder)
    code, out, _ = call(*given)
    assert code == 0
    download, keep = amount(plan.download_bytes), amount(plan.disk_bytes)
    assert f"converter not installed; once, {download} to download and {keep} to keep in" in out
    assert f"{tmp_path}/data/slm-advisor/converter-" in out


@pytest.mark.slow
def test_offline_a_converter_that_is_not_installed_is_told_before_the_build(
    call: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLM_ADVISOR_OFFLINE", "1")
    code, _, err = call("build", "Tiny-Qwen3:Q8_0", "--source", tiny, "--out", tmp_path / "out", *QUICK)
    assert code == 6
    assert "installing the converter needs the network" in err
    assert "slm-advisor: weights" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_safetensors_become_a_variant_that_runs(call: Call, serve: Serve, tiny: Path, tmp_path: Path) -> None:
    """The converter is set up by the first build, and the folder's licence comes along."""
    (tiny / "LICENSE").write_text("Do as you like.")
    given = ("build", "Tiny-Qwen3:Q4_K_M", "--source", tiny, "--out", tmp_path / "out")
    code, _, err = call(*given, "--text", HELD_OUT)
    assert code == 0, err
    for stage in ("installing the converter", "converting to GGUF", "importance matrix", "fidelity"):
        assert stage in err, stage
    built = tmp_path / "out" / "Tiny-Qwen3-Q4_K_M"
    manifest = read_manifest(built)
    assert manifest.source.kind == "safetensors"
    assert manifest.model.license_files == ("LICENSE",)
    assert (built / "LICENSE").read_text() == "Do as you like."
    assert {"llama-cpp-python", "torch", "transformers"} <= manifest.tools.keys()
    assert manifest.fidelity is not None
    assert {tensor.type for tensor in read_header(built / "Tiny-Qwen3-Q4_K_M.gguf").tensors} >= {
        "Q4_K",
        "Q6_K",
    }
    with Engine() as engine:
        require(engine.load_model(LoadModel(str(built / "Tiny-Qwen3-Q4_K_M.gguf"))))
        require(engine.open_context(OpenContext(n_ctx=64)))
        assert require(engine.run_test(RunTest(n_prompt=16, n_gen=4))).gen_s
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Tiny-Qwen3-Q4_K_M"]
    code, out, err = call(*given, "--replace", "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["needs"]["converter"] is None


def test_the_token_of_an_account_opens_what_it_may_read(
    call: Call, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to the Hub and not to the address that serves the file; no output shows it."""
    hub = serve({GGUFS: Repo({f"{MODEL}-Q4_1.gguf": smollm2().read_bytes()}, private=True)})
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.delenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")
    code, out, err = call("build", f"{MODEL}:Q4_1", "--ready", "--out", tmp_path, "--json")
    assert code == 0, err
    assert TOKEN not in out + err
    assert TOKEN not in (tmp_path / f"{MODEL}-Q4_1" / "manifest.json").read_text()
    assert any(seen.token for seen in hub.requests)
