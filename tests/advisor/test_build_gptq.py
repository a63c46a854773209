"""`slm-advisor build MODEL:GPTQ-…`: what is built, what is refused, and that nothing half-built ever shows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import msgspec
import psutil
import pytest

from advisor.catalog import load_catalog
from advisor.cli.schema import schema_of
from quantize.architecture import tensors
from quantize.gptq import find_gptq, plan_gptq
from quantize.gptq_recipe import parse_gptq
from quantize.hashes import sha256_of
from quantize.manifest import read_manifest
from quantize.safetensors_header import read_weights
from quantize.texts import CALIBRATION, HELD_OUT
from tests.advisor.conftest import Call
from tests.quantize.hub_server import Hub, Repo
from tests.quantize.safetensors import header, write
from tests.quantize.tiny_folders import make_tiny_folder

ROOT = Path(__file__).parents[2]
MODEL = "SmolLM2-135M-Instruct"
WEIGHTS = f"HuggingFaceTB/{MODEL}"
RECIPE = "GPTQ-4bit-64g"  # its rows of 576 weights are no multiple of 128
TINY = "GPTQ-4bit-128g"

pytestmark = pytest.mark.usefixtures("own_hub_cache")
needs_gptq = pytest.mark.skipif(
    find_gptq() is None, reason="needs GPTQModel: pip install 'slm-advisor[gptq]'"
)

Serve = Callable[[dict[str, Repo]], Hub]


@pytest.fixture
def hub(serve: Serve) -> Hub:
    """The model as the Hub lists it. Nobody gets as far as its weights."""
    return serve({WEIGHTS: Repo({"config.json": b"{}", "model.safetensors": b"not downloaded"})})


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# --- before anything is downloaded ----------------------------------------------------------------------------


@needs_gptq
def test_a_dry_run_tells_from_the_catalog_what_a_model_on_the_hub_would_need(
    call: Call, hub: Hub, tmp_path: Path
) -> None:
    """The same as from the model's own headers, and nothing is downloaded."""
    given = ("build", f"{MODEL}:{RECIPE}", "--out", tmp_path / "out", "--no-imatrix", "--dry-run")
    code, out, err = call(*given, "--json")
    assert code == 0, err
    document = json.loads(out)
    jsonschema.validate(document, schema_of("build-plan"))
    assert (document["variant"], document["imatrix"]) == (RECIPE, None)
    assert (document["calibration"], document["fidelity"]) == (str(CALIBRATION), str(HELD_OUT))
    needs = {need["stage"]: need for need in document["needs"]["stages"]}
    assert list(needs) == ["source", "quantize", "fidelity"]
    span = needs["quantize"]["seconds"]
    assert 0 < span["low"] < span["value"] < span["high"]

    arch = load_catalog().find(MODEL).architecture
    assert arch is not None
    folder = tmp_path / "headers"
    folder.mkdir()
    shapes = {tensor.name: ("BF16", tensor.shape[::-1]) for tensor in tensors(arch)}
    write(folder / "model.safetensors", header(shapes))
    (folder / "config.json").write_text("{}")
    plan = plan_gptq(folder, parse_gptq(RECIPE))
    assert document["needs"]["result_bytes"] == plan.checkpoint_bytes
    assert document["needs"]["disk_bytes"] == plan.disk_bytes
    assert needs["quantize"]["memory_bytes"] == plan.memory_bytes

    code, out, _ = call(*given, "--no-fidelity")
    assert code == 0
    assert "quantizing" in out
    assert "fidelity" not in out
    assert left(tmp_path) == ["headers"]
    assert not [seen for seen in hub.gets("model.safetensors") if seen.method == "GET"]


@needs_gptq
@pytest.mark.parametrize(
    ("variant", "words"),
    [
        (f"{MODEL}:GPTQ-4bit-128g", "GPTQ-4bit-64g"),
        (f"{MODEL}:GPTQ-5bit-128g", "2, 3, 4 or 8 bits"),
        ("NoSuchModel-1B:GPTQ-4bit-128g", "NoSuchModel-1B"),
    ],
)
def test_what_gptq_does_not_take_is_refused_with_what_it_takes(
    call: Call, hub: Hub, tmp_path: Path, variant: str, words: str
) -> None:
    code, _, err = call("build", variant, "--out", tmp_path / "out")
    assert code == 2
    assert words in err
    assert not hub.gets("model.safetensors")
    assert left(tmp_path) == []


@needs_gptq
def test_a_mixture_of_experts_is_refused_before_it_is_downloaded(
    call: Call, serve: Serve, tmp_path: Path
) -> None:
    model = load_catalog().find("Qwen3-30B-A3B")
    assert model.weights is not None
    serve({model.weights: Repo({"config.json": b"{}", "model.safetensors": b"not downloaded"})})
    code, _, err = call("build", f"{model.name}:{TINY}", "--out", tmp_path / "out")
    assert code == 2
    assert "mixture of experts" in err


@pytest.mark.parametrize(
    "given",
    [
        ("--ready",),
        ("--bench",),
        ("--imatrix", __file__),
        ("--output-type", "Q8_0"),
        ("--embedding-type", "Q8_0"),
        ("--tensor-type", "ffn_down=Q8_0"),
    ],
)
def test_options_of_gguf_files_are_refused_by_name(
    call: Call, hub: Hub, tmp_path: Path, given: tuple[str, ...]
) -> None:
    code, _, err = call("build", f"{MODEL}:{RECIPE}", *given, "--out", tmp_path)
    assert code == 2
    assert given[0] in err
    assert RECIPE in err
    assert hub.requests == []


@pytest.mark.parametrize("command", ["estimate", "explain", "probe", "pin"])
def test_other_commands_say_that_it_can_be_built_but_not_estimated(
    call: Call, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(command, f"{MODEL}:gptq-int4-64g")
    assert (code, out) == (2, "")
    assert f"slm-advisor build {MODEL}:{RECIPE}" in err
    assert "not estimated" in err


@needs_gptq
def test_a_gguf_is_no_source(call: Call, smollm2_f16: Path, tmp_path: Path) -> None:
    code, _, err = call("build", f"{MODEL}:{RECIPE}", "--source", smollm2_f16, "--out", tmp_path)
    assert code == 2
    assert "safetensors" in err
    assert left(tmp_path) == []


@needs_gptq
def test_another_model_than_the_one_named_is_found_before_it_is_quantized(call: Call, tmp_path: Path) -> None:
    """Exit code 3, and nothing is left."""
    folder = tmp_path / "other"
    folder.mkdir()
    shapes = {"model.embed_tokens.weight": ("BF16", (64, 64)), "model.layers.0.up.weight": ("BF16", (64, 64))}
    write(folder / "model.safetensors", header(shapes))
    (folder / "config.json").write_text("{}")
    code, _, err = call("build", f"{MODEL}:{RECIPE}", "--source", folder, "--out", tmp_path / "out")
    assert code == 3
    assert "8,192 weights" in err
    assert "slm-advisor: quantizing" not in err
    assert left(tmp_path / "out") == []


def test_without_the_extra_nothing_is_asked_for_and_the_command_that_installs_it_is_said(
    hub: Hub, tmp_path: Path
) -> None:
    """Exit code 5: in an environment with all but GPTQModel."""
    site = tmp_path / "site"
    site.mkdir()
    for path in Path(msgspec.__file__).parents[1].iterdir():
        if not path.name.lower().startswith("gptqmodel"):
            (site / path.name).symlink_to(path)
    done = subprocess.run(
        [sys.executable, "-S", "-m", "advisor.cli.main", "build", f"{MODEL}:{RECIPE}", "--out", "out"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert "pip install torch && pip install 'slm-advisor[gptq]'" in done.stderr
    assert hub.requests == []
    assert not (tmp_path / "out").exists()


# --- what is built --------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A llama of two blocks, added to the catalog of this test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "Two-Blocks"
    make_tiny_folder("llama", folder)
    (folder / "LICENSE").write_text("Do as you like.")
    code, _, err = call("catalog", "add", folder)
    assert code == 0, err
    load_catalog.cache_clear()
    yield folder
    load_catalog.cache_clear()


@needs_gptq
@pytest.mark.slow
def test_a_build_gives_a_checkpoint_its_manifest_and_what_it_cost(
    call: Call, tiny: Path, tmp_path: Path
) -> None:
    """The folder is what transformers and vLLM read, the hashes are the files', and the licence came along."""
    out = tmp_path / "out"
    code, text, err = call("build", f"Two-Blocks:{TINY}", "--out", out, "--json")
    assert code == 0, err
    document = json.loads(text)
    jsonschema.validate(document, schema_of("build"))
    assert left(out) == [f"Two-Blocks-{TINY}"]
    folder = out / f"Two-Blocks-{TINY}"
    manifest = read_manifest(folder)
    noted = {file.name: (file.bytes, file.sha256) for file in manifest.files}
    there = {path.name: (path.stat().st_size, sha256_of(path)) for path in folder.iterdir()}
    assert there.pop("manifest.json")
    assert noted == there
    assert {"config.json", "quantize_config.json", "model.safetensors", "LICENSE"} <= noted.keys()
    assert manifest.model.license_files == ("LICENSE",)

    assert (manifest.variant, manifest.recipe.method) == (TINY, "gptq")
    options = manifest.recipe.options
    assert (options["bits"], options["group_size"], options["act_order"]) == (4, 128, False)
    assert options["calibration_sha256"] == sha256_of(CALIBRATION)
    assert manifest.source.kind == "safetensors"
    weights = {file.name: file.sha256 for file in manifest.source.files}
    assert weights["model.safetensors"] == sha256_of(tiny / "model.safetensors")
    assert sum(manifest.bytes_by_type.values()) == read_weights(folder).bytes
    assert {"gptqmodel", "torch", "transformers"} <= manifest.tools.keys()
    assert manifest.fidelity is not None
    assert manifest.fidelity.text_sha256 == sha256_of(HELD_OUT)
    assert 0 < manifest.fidelity.kl_divergence.value < 0.1
    assert set(manifest.seconds) == {"source", "quantize", "fidelity"}
    for stage in ("quantizing", "measuring fidelity"):
        assert stage in err

    code, _, err = call("build", f"Two-Blocks:{TINY}", "--out", out)
    assert code == 2
    assert "--replace" in err
    code, text, err = call("build", f"Two-Blocks:{TINY}", "--out", out, "--replace", "--no-fidelity")
    assert code == 0, err
    assert "measuring fidelity" not in err
    assert "bits per weight" in text
    again = read_manifest(folder)
    assert (again.files, again.fidelity) == (manifest.files, None)


@needs_gptq
@pytest.mark.slow
def test_weights_come_from_the_hub_and_their_commit_is_pinned(
    call: Call, serve: Serve, tiny: Path, tmp_path: Path
) -> None:
    """The repository has a GGUF too, which is passed by."""
    files = {path.name: path.read_bytes() for path in tiny.iterdir()}
    hub = serve({"acme/Two-Blocks": Repo({**files, "Two-Blocks-F16.gguf": b"not for GPTQ"})})
    (own,) = (tmp_path / "data" / "slm-advisor" / "catalog").glob("*.toml")
    text = own.read_text()
    assert f'weights = "{tiny}"' in text
    own.write_text(text.replace(f'weights = "{tiny}"', 'weights = "acme/Two-Blocks"'))
    load_catalog.cache_clear()
    code, _, err = call("build", f"Two-Blocks:{TINY}", "--out", tmp_path / "out", "--no-fidelity")
    assert code == 0, err
    manifest = read_manifest(tmp_path / "out" / f"Two-Blocks-{TINY}")
    assert manifest.source.repository == "acme/Two-Blocks"
    assert manifest.source.revision == hub.repos["acme/Two-Blocks"].commit
    assert not hub.gets("Two-Blocks-F16.gguf")
    built = tmp_path / "out" / f"Two-Blocks-{TINY}"
    assert (built / "tokenizer.json").is_file() or (built / "tokenizer.model").is_file()
    assert not any(path.is_symlink() for path in built.iterdir())


@needs_gptq
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_killed_leaves_no_checkpoint_and_no_process(
    tiny: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """While it quantizes; what SIGKILL leaves has another name."""
    out = tmp_path / "out"
    command = [sys.executable, "-c", "from advisor.cli.main import main; main()", "build"]
    with subprocess.Popen(
        [*command, f"Two-Blocks:{TINY}", "--source", str(tiny), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stderr is not None
        assert any("slm-advisor: quantizing" in line for line in process.stderr)
        parent = psutil.Process(process.pid)
        deadline = time.monotonic() + 30
        while not (workers := parent.children(recursive=True)) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}.get(number, -number)
    assert workers
    assert not psutil.wait_procs(workers, timeout=20)[1]
    assert not (out / f"Two-Blocks-{TINY}").exists()
    if number != signal.SIGKILL:
        assert left(out) == []
