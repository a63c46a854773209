"""`verify --via`: a target that has a shell and nothing of ours, over a real sshd."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from advisor.cli.main import run
from advisor.cli.schema import schema_of
from advisor.manifest import Requirements, encode_manifest
from advisor.verify_remote import bench_test, speeds_of
from profiles.llama_bench import LlamaBenchRow
from tests.advisor.test_verify import manifest_of

Verify = Callable[..., tuple[int, dict[str, object], dict[str, dict[str, object]]]]

# Answers as llama-bench does, of the model that it was asked for.
STAND_IN = """#!/bin/sh
printf '[{"model_filename":"%s","n_prompt":%s,"n_gen":0,' "$2" "$6"
printf '"avg_ts":300,"stddev_ts":0,"samples_ts":[300,300,300]},'
printf '{"model_filename":"%s","n_prompt":0,"n_gen":%s,"avg_ts":50,"stddev_ts":0,"samples_ts":[50,49,51]}]' "$2" "$8"
"""


@pytest.fixture
def target(tmp_path: Path, smollm2: Path) -> Path:
    """A folder on the target with the model and a llama-bench, under names that a shell could misread."""
    folder = tmp_path / "on the $target"
    folder.mkdir()
    shutil.copy(smollm2, folder / "model it's.gguf")
    (folder / "llama-bench").write_text(STAND_IN)
    (folder / "llama-bench").chmod(0o755)
    return folder


@pytest.fixture
def verify(
    ssh: str, target: Path, smollm2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Verify:
    """Verify over ssh; exit code, document, checks by id."""

    def invoke(
        requires: Requirements, *options: str, file: str | None = None
    ) -> tuple[int, dict[str, object], dict[str, dict[str, object]]]:
        manifest = tmp_path / "deployment.json"
        manifest.write_bytes(encode_manifest(manifest_of(smollm2, requires)))
        path = file or str(target / "model it's.gguf")
        capsys.readouterr()
        code = run(["verify", str(manifest), "--via", ssh, "--file", path, "--json", *options])
        document = json.loads(capsys.readouterr().out)
        jsonschema.validate(document, schema_of("verification"))
        return code, document, {check["id"]: check for check in document["checks"]}

    return invoke


def test_the_file_is_hashed_there_and_the_memory_is_the_targets(verify: Verify) -> None:
    code, document, checks = verify(Requirements(max_memory_bytes=2 << 30))
    assert code == 0, document
    assert checks["sha256"]["status"] == checks["memory"]["status"] == "pass"
    assert document["mode"] == "estimate"


def test_llama_bench_there_measures_with_the_pinned_settings(verify: Verify, target: Path) -> None:
    import shlex

    command = shlex.quote(str(target / "llama-bench"))
    floors = Requirements(min_tg_tokens_per_s=40.0, min_pp_tokens_per_s=1000.0)
    code, document, checks = verify(floors, "--llama-bench", command)
    assert code == 3
    assert document["mode"] == "run"
    assert checks["token-generation"]["status"] == "pass"
    assert checks["prompt-processing"]["status"] == "fail"
    assert checks["unchanged"]["status"] == "pass"


def test_a_damaged_copy_is_not_run(verify: Verify, target: Path) -> None:
    path = target / "model it's.gguf"
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    code, _, checks = verify(Requirements(), "--llama-bench", str(target / "llama-bench"))
    assert code == 3
    assert checks["sha256"]["status"] == "fail"
    assert checks["run"]["status"] == "unknown"


def test_a_file_swapped_while_it_runs_is_noticed(verify: Verify, target: Path) -> None:
    import shlex

    bench = target / "llama-bench"
    bench.write_text(STAND_IN + '\nprintf x >> "$2"\n')
    code, _, checks = verify(Requirements(), "--llama-bench", shlex.quote(str(bench)))
    assert code == 3
    assert checks["unchanged"]["status"] == "fail"


def test_a_missing_file_and_a_bench_that_cannot_start_are_failures_that_name_them(
    verify: Verify, tmp_path: Path
) -> None:
    code, _, checks = verify(Requirements(), file=str(tmp_path / "nowhere.gguf"))
    assert code == 3
    assert "nowhere.gguf" in str(checks["file"]["message"])
    code, _, checks = verify(Requirements(min_tg_tokens_per_s=1.0), "--llama-bench", "/no/llama-bench")
    assert code == 3
    assert "/no/llama-bench" in str(checks["run"]["message"])
    assert checks["token-generation"]["status"] == "unknown"


@pytest.mark.parametrize(
    "options",
    [("--llama-bench", "x"), ("--llama-bench", "'x", "--via", "env")],
    ids=["without --via", "an open quote"],
)
def test_options_that_cannot_be_are_refused(
    options: tuple[str, ...], smollm2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "deployment.json"
    manifest.write_bytes(encode_manifest(manifest_of(smollm2)))
    assert run(["verify", str(manifest), *options]) == 2
    assert "llama-bench" in capsys.readouterr().err


def test_the_interval_of_a_bench_holds_its_repetitions(smollm2: Path) -> None:
    rows = (
        LlamaBenchRow(model_filename="m", n_prompt=64, n_gen=0, avg_ts=100.0, stddev_ts=5.0),
        LlamaBenchRow(
            model_filename="m", n_prompt=0, n_gen=16, avg_ts=10.0, stddev_ts=1.0, samples_ts=(9.0, 10.0, 11.0)
        ),
    )
    speeds = speeds_of(rows)
    assert speeds.tg_tokens_per_s is not None
    assert speeds.tg_tokens_per_s.low < 9.0 < 11.0 < speeds.tg_tokens_per_s.high
    assert speeds.pp_tokens_per_s is not None
    assert speeds.pp_tokens_per_s.low < 95.0 < 105.0 < speeds.pp_tokens_per_s.high
    test = bench_test(manifest_of(smollm2))
    assert test.n_gpu_layers == 0
    assert test.type_k == "f16"
