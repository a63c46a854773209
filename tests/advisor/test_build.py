"""`slm-advisor build` on a real model: what is built, what is refused, and that nothing half-built ever shows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import jsonschema
import psutil
import pytest

from advisor.build import expected_tensors
from advisor.catalog import load_catalog
from advisor.cli.main import run
from advisor.cli.schema import schema_of
from profiles.engine.client import Engine
from quantize.gguf import check_tensors
from quantize.gguf_header import read_header
from quantize.hashes import sha256_of
from quantize.imatrix import read_imatrix
from quantize.manifest import read_manifest
from quantize.texts import CALIBRATION, HELD_OUT
from tests.quantize.smollm2 import smollm2

pytestmark = pytest.mark.engine

MODEL = "SmolLM2-135M-Instruct"
NAME = f"{MODEL}-Q4_K_M"
QUICK = ("--no-imatrix", "--no-fidelity")
# What is said when a stage begins; the plan before it has the same words.
STAGES = tuple(f"slm-advisor: {stage}" for stage in ("importance matrix", "quantizing", "measuring fidelity"))

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def full(smollm2_f16: Path) -> Path:
    return smollm2_f16


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two short texts, of two chunks each and some."""
    folder = tmp_path_factory.mktemp("texts")
    for source, name in ((CALIBRATION, "calibration.txt"), (HELD_OUT, "held-out.txt")):
        (folder / name).write_text(source.read_text(encoding="utf-8")[:6000], encoding="utf-8")
    return folder / "calibration.txt", folder / "held-out.txt"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def invoke(*arguments: str | Path) -> tuple[int, str, str]:
        code = run(["build", *(str(argument) for argument in arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return invoke


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# --- what is built --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_build_gives_the_file_its_manifest_and_what_it_cost(
    call: Call, full: Path, texts: tuple[Path, Path], tmp_path: Path
) -> None:
    """Every tensor is the catalog's, the hash is the file's, and a second build gives the same bytes."""
    calibration, held_out = texts
    given = (f"{MODEL}:Q4_K_M", "--source", full, "--calibration", calibration, "--text", held_out)
    code, out, err = call(*given, "--out", tmp_path / "one", "--json")
    assert code == 0, err
    document = json.loads(out)
    jsonschema.validate(document, schema_of("build"))
    folder = tmp_path / "one" / NAME
    assert left(tmp_path / "one") == [NAME]
    assert left(folder) == [f"{NAME}.gguf", "imatrix.gguf", "manifest.json"]
    manifest = read_manifest(folder)
    (file,) = manifest.files
    built = folder / file.name
    assert (file.bytes, file.sha256) == (built.stat().st_size, sha256_of(built))
    assert document["files"][0]["sha256"] == file.sha256

    model = load_catalog().find(MODEL)
    with Engine() as engine:
        check_tensors([built], expected_tensors(model, "Q4_K_M", engine))
    assert manifest.bytes_by_type == dict(model.variant("Q4_K_M").bytes_by_type)

    assert manifest.source.files[0].sha256 == sha256_of(full)
    assert manifest.source.precision == "F16"
    assert manifest.model.license == "Apache-2.0"
    assert manifest.recipe.imatrix is not None
    assert manifest.recipe.imatrix.text_sha256 == sha256_of(calibration)
    assert manifest.recipe.imatrix.sha256 == sha256_of(folder / "imatrix.gguf")
    assert len(read_imatrix(folder / "imatrix.gguf").tensors) == manifest.recipe.imatrix.tensors
    assert manifest.fidelity is not None
    assert manifest.fidelity.text_sha256 == sha256_of(held_out)
    assert 0 < manifest.fidelity.kl_divergence.value < 0.3
    assert 0.7 < manifest.fidelity.same_top.value < 1
    assert set(manifest.seconds) == {"source", "imatrix", "quantize", "check", "fidelity"}
    for stage in ("importance matrix", "quantizing", "measuring fidelity"):
        assert stage in err

    code, _, err = call(*given, "--out", tmp_path / "two", "--no-fidelity", "--threads", "1")
    assert code == 0, err
    assert read_manifest(tmp_path / "two" / NAME).files == manifest.files


@pytest.mark.slow
def test_a_built_file_is_run_when_asked_and_its_speed_kept(call: Call, full: Path, tmp_path: Path) -> None:
    code, out, err = call(f"{MODEL}:Q8_0", "--source", full, "--out", tmp_path, *QUICK, "--bench")
    assert code == 0, err
    bench = read_manifest(tmp_path / f"{MODEL}-Q8_0").bench
    assert bench is not None
    assert [rate["test"] for rate in bench["runs"][0]["rates"]] == ["pp512", "tg128"]
    assert bench["file"]["path"] == f"{MODEL}-Q8_0.gguf"
    assert "tokens/s" in out


def test_types_of_ones_own_are_in_the_file_and_in_the_manifest(
    call: Call, full: Path, tmp_path: Path
) -> None:
    """The catalog's sizes no longer hold then; the engine's dry run of the same recipe does, and that is said."""
    code, out, err = call(
        f"{MODEL}:Q8_0", "--source", full, "--out", tmp_path, *QUICK, "--tensor-type", "ffn_down=F16"
    )
    assert code == 0, err
    assert "30 of 272 tensors have another type" in out
    manifest = read_manifest(tmp_path / f"{MODEL}-Q8_0")
    assert manifest.recipe.overrides == (("ffn_down", "F16"),)
    types = {t.name: t.type for t in read_header(tmp_path / f"{MODEL}-Q8_0" / f"{MODEL}-Q8_0.gguf").tensors}
    assert types["blk.3.ffn_down.weight"] == "F16"
    assert types["blk.3.ffn_up.weight"] == "Q8_0"


def test_a_dry_run_tells_what_would_be_needed_and_does_nothing(
    call: Call, full: Path, tmp_path: Path
) -> None:
    given = (f"{MODEL}:Q4_K_M", "--source", full, "--out", tmp_path / "out", "--dry-run")
    code, out, err = call(*given, "--json")
    assert code == 0, err
    document = json.loads(out)
    jsonschema.validate(document, schema_of("build-plan"))
    needs = {need["stage"]: need for need in document["needs"]["stages"]}
    assert list(needs) == ["source", "imatrix", "quantize", "fidelity"]
    for stage in ("imatrix", "quantize", "fidelity"):
        seconds = needs[stage]["seconds"]
        assert 0 < seconds["low"] < seconds["value"] < seconds["high"]
    assert needs["fidelity"]["memory_bytes"] > full.stat().st_size
    result = load_catalog().find(MODEL).variant("Q4_K_M").tensor_bytes
    assert document["needs"]["result_bytes"] == pytest.approx(result, rel=0.001)
    code, out, _ = call(*given)
    assert code == 0
    assert "Apache-2.0" in out
    assert not (tmp_path / "out").exists()


# --- what is refused ------------------------------------------------------------------------------------------


def test_weights_that_are_quantized_already_are_refused(call: Call, tmp_path: Path) -> None:
    code, _, err = call(f"{MODEL}:Q4_K_M", "--source", smollm2(), "--out", tmp_path, *QUICK)
    assert code == 2
    assert "Q4_1" in err
    assert left(tmp_path) == []


def test_another_model_than_the_one_named_is_found_before_it_is_quantized(
    call: Call, full: Path, tmp_path: Path
) -> None:
    """Exit code 3, with a tensor that gives it away."""
    code, _, err = call("SmolLM2-360M-Instruct:Q8_0", "--source", full, "--out", tmp_path, *QUICK)
    assert code == 3
    assert "not what the catalog expects" in err
    assert "slm-advisor: quantizing" not in err
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("SmolLM2-135M-Instruct",), 2, "give the quantization too"),
        (("SmolLM2-135M-Instruct:IQ2_XS", "--no-imatrix"), 2, "importance matrix"),
        (("SmolLM2-135M-Instruct:Q4_K_M", "--output-type", "Q7"), 2, "no tensor type"),
        (("SmolLM2-135M-Instruct:Q4_K_M", "--no-imatrix", "--calibration", __file__), 2, "together"),
        (("SmolLM2-135M-Instruct:Q4_K_M", "--ready", "--output-type", "Q8_0"), 2, "--ready"),
        (("SmolLM2-135M-Instruct:Q4_K_M", "--source", "/no/such"), 2, "/no/such"),
        (("bitnet-b1.58-2B-4T:Q4_K_M",), 4, "wrong activation"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_in_words(
    call: Call, full: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    source = () if "--source" in arguments or "--ready" in arguments else ("--source", full)
    found, _, err = call(*arguments, *source, "--out", tmp_path)
    assert found == code, err
    assert words in err
    assert left(tmp_path) == []


def test_what_is_built_already_is_kept_unless_it_may_be_replaced(
    call: Call, full: Path, tmp_path: Path
) -> None:
    given = (f"{MODEL}:Q8_0", "--source", full, "--out", tmp_path, *QUICK)
    assert call(*given)[0] == 0
    before = (tmp_path / f"{MODEL}-Q8_0" / "manifest.json").stat().st_mtime_ns
    code, _, err = call(*given)
    assert code == 2
    assert "--replace" in err
    assert (tmp_path / f"{MODEL}-Q8_0" / "manifest.json").stat().st_mtime_ns == before
    assert call(*given, "--replace")[0] == 0
    assert left(tmp_path) == [f"{MODEL}-Q8_0"]


def test_a_build_without_room_is_refused_before_anything_is_written(full: Path, tmp_path: Path) -> None:
    """On a real file system of 60 MB: exit code 3, how much is needed, and nothing on it."""
    script = (
        f"mount -t tmpfs -o size=60m tmpfs {tmp_path} && {sys.executable} -c "
        f"'from advisor.cli.main import main; main()' build {MODEL}:Q4_K_M --source {full} --out {tmp_path}/out "
        f"--no-imatrix --no-fidelity; code=$?; ls -A {tmp_path}; exit $code"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no file system of one's own here: {done.stderr.strip()}")
    assert done.returncode == 3, done.stderr
    assert "needs" in done.stderr
    assert "free" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_fills_during_a_build_ends_it_in_words(
    full: Path, texts: tuple[Path, Path], tmp_path: Path, stage: str
) -> None:
    """On a real file system with room enough at first: exit code 3, which disk, and nothing is left on it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    calibration, held_out = texts
    build = (
        f"exec {sys.executable} -c 'from advisor.cli.main import main; main()' build {MODEL}:Q4_K_M --source {full} "
        f"--out {disk}/out --calibration {calibration} --text {held_out}"
    )
    script = f"mount -t tmpfs -o size=300m tmpfs {disk} && ({build}); code=$?; ls -A {disk}/out; exit $code"
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    if first.startswith(("unshare", "mount")):
        process.communicate()
        pytest.skip(f"no file system of one's own here: {first.strip()}")
    until(process, stage)
    # What others see of its mounts.
    with Path(f"/proc/{process.pid}/root{disk}/other").open("wb", buffering=0) as other, suppress(OSError):
        while True:
            other.write(bytes(1 << 16))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert f"the disk at {disk} became full" in err
    assert out == ""


# --- interrupted ----------------------------------------------------------------------------------------------


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from advisor.cli.main import main; main()", "build", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if words in line:
            return
    pytest.fail(f"it never said {words!r}: {seen}")


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=10)[1]


@pytest.fixture
def built(full: Path, tmp_path: Path) -> tuple[str | Path, ...]:
    """The arguments of a build that takes a while at each stage."""
    return f"{MODEL}:Q4_K_M", "--source", full, "--out", tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_killed_leaves_no_file_and_no_process(
    built: tuple[str | Path, ...],
    texts: tuple[Path, Path],
    tmp_path: Path,
    stage: str,
    number: signal.Signals,
) -> None:
    """At every stage, by every signal; the next build of the same target works."""
    given = built if stage.endswith("matrix") else (*built, "--calibration", texts[0])
    process = start(*given)
    until(process, stage)
    time.sleep(0.3)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}.get(number, -number)
    assert gone(workers)
    assert not (tmp_path / NAME).exists()
    if number != signal.SIGKILL:
        assert left(tmp_path) == []
    assert run(["build", *map(str, built), *QUICK]) == 0
    assert left(tmp_path) == [NAME]


@pytest.mark.slow
def test_a_second_build_of_the_same_target_is_refused_while_the_first_runs(
    built: tuple[str | Path, ...], call: Call, tmp_path: Path
) -> None:
    process = start(*built, "--no-fidelity")
    try:
        until(process, "slm-advisor: importance matrix")
        code, _, err = call(*built, *QUICK)
        assert code == 2
        assert str(process.pid) in err
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert left(tmp_path) == []


def test_without_the_engine_the_command_that_installs_it_is_said(full: Path, tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "llama_cpp.py").write_text("raise ImportError('hidden for this test')")
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            "from advisor.cli.main import main; main()",
            "build",
            f"{MODEL}:Q4_K_M",
            "--source",
            str(full),
            "--out",
            str(tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "hidden")},
        timeout=60,
        check=False,
    )
    assert process.returncode == 5, process.stderr
    assert "install" in process.stderr
    assert not (tmp_path / "out").exists()
