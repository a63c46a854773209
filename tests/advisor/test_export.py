"""`slm-advisor export`: files that other programs run a deployment with, as it was pinned."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import jsonschema
import msgspec
import pytest

from advisor.cli.main import run
from advisor.cli.schema import schema_of
from advisor.errors import InvalidInputError
from advisor.export import PROGRAMS, Program, export
from advisor.manifest import DeploymentManifest, PinnedModel, encode_manifest
from tests.advisor.manifests import FILE, pinned


def with_settings(**changes: object) -> DeploymentManifest:
    manifest = pinned()
    return msgspec.structs.replace(manifest, settings=msgspec.structs.replace(manifest.settings, **changes))


def started_with(script: str, folder: Path) -> list[str]:
    """The arguments that the script starts a program with: `printf` stands in for every program."""
    for name in ("llama-server", "lms"):
        path = folder / name
        path.write_text('#!/bin/sh\nprintf "%s\\n" "$(basename "$0")" "$@"\n')
        path.chmod(0o755)
    path = folder / "script.sh"
    path.write_text(script)
    result = subprocess.run(
        ["sh", path],
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()


def test_the_script_of_llama_server_starts_it_with_the_pinned_settings(tmp_path: Path) -> None:
    manifest = with_settings(type_k="q8_0", type_v="q8_0", threads=6, threads_batch=8, offload_layers=0)
    arguments = started_with(export(manifest, "llama-server").content, tmp_path)
    assert arguments[:3] == ["llama-server", "--model", str(tmp_path / FILE.name)]
    options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    assert options["--ctx-size"] == str(manifest.settings.context_length)
    assert options["--cache-type-k"] == options["--cache-type-v"] == "q8_0"
    assert (options["--threads"], options["--threads-batch"]) == ("6", "8")
    assert options["--n-gpu-layers"] == "0"
    assert options["--parallel"] == "1"


def test_the_modelfile_has_ollamas_parameters_and_says_what_it_cannot_have() -> None:
    written = export(with_settings(type_k="q8_0", type_v="q8_0", threads=6, threads_batch=8), "ollama")
    lines = written.content.splitlines()
    assert f"FROM ./{FILE.name}" in lines
    assert "PARAMETER num_thread 6" in lines
    assert f"PARAMETER num_ctx {pinned().settings.context_length}" in lines
    assert any("OLLAMA_KV_CACHE_TYPE=q8_0" in text for text in written.left_out)
    assert any("8 threads" in text for text in written.left_out)
    assert "ollama create gemma-3-1b-it-q4_k_m " in written.run


@pytest.mark.parametrize(("layers", "gpu"), [(0, "off"), (27, "max"), (9, "0.33")])
def test_lm_studio_gets_its_share_of_layers(layers: int, gpu: str, tmp_path: Path) -> None:
    manifest = with_settings(offload_layers=layers, n_layer=26)
    arguments = started_with(export(manifest, "lm-studio").content, tmp_path)
    assert arguments[arguments.index("--gpu") + 1] == gpu
    assert arguments[arguments.index("import") + 5] == str(tmp_path / FILE.name)


def test_the_environment_names_variables_of_llama_server() -> None:
    lines = export(pinned(), "env").content.splitlines()
    variables = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert variables["LLAMA_ARG_MODEL"] == FILE.name
    assert variables["LLAMA_ARG_UBATCH"] == str(pinned().settings.micro_batch)
    assert variables["LLAMA_ARG_N_PARALLEL"] == "1"
    server = shutil.which("llama-server")
    if server is not None:
        known = subprocess.run([server, "--help"], capture_output=True, text=True, check=True).stdout
        assert not [name for name in variables if name not in known]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_name_in_the_manifest_is_never_a_command(program: Program, tmp_path: Path) -> None:
    evil = "x\ntouch owned\n$(touch owned)`touch owned`"
    file = msgspec.structs.replace(FILE, name="a @(touch owned) b.gguf")
    model = PinnedModel(id="x", name=evil, family="x", parameters=1, license=evil)
    written = export(pinned(model=model, file=file, tool_version=evil), program)
    commands = [line for line in written.content.splitlines() if not line.startswith("#")]
    assert not [line for line in commands if "touch" in line and file.name not in line]
    if written.executable:
        assert str(tmp_path / file.name) in started_with(written.content, tmp_path)
        assert not (tmp_path / "owned").exists()
    assert "touch owned" not in written.run


def test_files_lie_beside_the_manifest_and_others_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deployment.json"
    path.write_bytes(encode_manifest(pinned()))
    question = ["export", str(path), "--llama-server", "--ollama"]
    assert run(question) == 0
    assert stat.S_IMODE((tmp_path / "llama-server.sh").stat().st_mode) == 0o755
    assert run(question) == 0  # the same again changes nothing
    (tmp_path / "Modelfile").write_text("FROM mine\n")
    (tmp_path / "llama-server.sh").unlink()
    capsys.readouterr()
    assert run(question) == 2
    assert "--replace" in capsys.readouterr().err
    assert (tmp_path / "Modelfile").read_text() == "FROM mine\n"
    assert not (tmp_path / "llama-server.sh").exists(), "all or nothing"


def test_the_document_holds_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deployment.json"
    path.write_bytes(encode_manifest(pinned()))
    assert run(["export", str(tmp_path), "--env", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, schema_of("export"))
    assert document["exports"][0]["content"].startswith("# gemma-3-1b-it:Q4_K_M")
    assert sorted(tmp_path.iterdir()) == [path]


def test_without_a_file_there_is_nothing_to_run() -> None:
    with pytest.raises(InvalidInputError, match="before there was a file"):
        export(pinned(file=None), "ollama")
