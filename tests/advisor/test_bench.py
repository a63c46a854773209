"""`slm-advisor bench` on a real model with tiny tests: documents, llama-bench's fields, refusals, Ctrl-C."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest

from advisor.cli.schema import schema_of
from tests.advisor.conftest import Call

TINY = ("-p", "32", "-n", "8", "-r", "2", "-t", "1", "--under-load")


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


# --- what is printed ------------------------------------------------------------------------------------------

# The keys of `llama-bench -o json`, llama.cpp 0c1e57098, in its order.
# fmt: off
LLAMA_BENCH_FIELDS = [
    "build_commit", "build_number", "cpu_info", "gpu_info", "backends", "model_filename", "model_type",
    "model_size", "model_n_params", "n_batch", "n_ubatch", "n_threads", "cpu_mask", "cpu_strict",
    "poll", "type_k", "type_v", "n_gpu_layers", "n_cpu_moe", "split_mode", "main_gpu", "no_kv_offload",
    "flash_attn", "devices", "tensor_split", "tensor_buft_overrides", "load_mode", "lazy_mode",
    "embeddings", "no_op_offload", "no_host", "repack", "fit_target", "fit_min_ctx", "n_prompt",
    "n_gen", "n_depth", "test_time", "avg_ns", "stddev_ns", "avg_ts", "stddev_ts", "samples_ns",
    "samples_ts",
]
# fmt: on


@pytest.mark.engine
def test_a_document_tells_what_was_measured_beside_what_was_predicted(call: Call, smollm2: Path) -> None:
    """Speeds with intervals, first token, memory and load time; the file is known to the catalog."""
    code, out, err = call("bench", smollm2, *TINY, "-pg", "16,4", "--json")
    assert code == 0, err
    document = json.loads(out)
    jsonschema.validate(document, schema_of("bench"))
    assert document["file"]["model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    (one,) = document["runs"]
    assert [rate["test"] for rate in one["rates"]] == ["pp32", "tg8", "pp16+tg4"]
    for rate in one["rates"]:
        value = rate["tokens_per_s"]
        assert value["low"] < value["value"] < value["high"]
        assert value["evidence"] == "measured"
    pp, tg, both = one["rates"]
    assert pp["predicted_tokens_per_s"]["evidence"] != "measured"
    assert tg["predicted_tokens_per_s"]["value"] > 0
    assert both["predicted_tokens_per_s"] is None
    assert one["peak_resident_bytes"] > document["file"]["tensor_bytes"]
    assert one["first_token"]["n_prompt"] == 32
    assert one["load_s"] > 0
    assert document["energy"]
    assert "repetition 1 of 2" in err


@pytest.mark.engine
def test_the_table_fits_80_columns_and_shows_the_settings_that_differ(call: Call, smollm2: Path) -> None:
    """Lists and ranges as llama-bench has them: each combination is a row."""
    code, out, _ = call(
        "bench", smollm2, "-p", "0", "-n", "4-8*2", "-ctk", "f16,q8_0", "-r", "2", "-t", "1", "--under-load"
    )
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    rows = [line.split()[:2] for line in out.splitlines() if " tg" in line and "(" in line]
    assert rows == [["f16", "tg4"], ["f16", "tg8"], ["q8_0", "tg4"], ["q8_0", "tg8"]]


@pytest.mark.engine
def test_rows_for_a_spreadsheet(call: Call, smollm2: Path) -> None:
    """CSV has a line a test, with an empty cell for what is not known."""
    code, out, _ = call("bench", smollm2, *TINY, "-d", "16", "--output", "csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["test"] for row in rows] == ["pp32 @ d16", "tg8 @ d16"]
    low, value, high = (float(rows[0][f"tokens_per_s{part}"]) for part in ("_low", "", "_high"))
    assert low < value < high
    assert rows[0]["micro_batch"] == "512"


@pytest.mark.engine
def test_llama_benchs_own_fields_for_its_own_tools(call: Call, smollm2: Path) -> None:
    """The same keys in the same order, with numbers that belong together."""
    code, out, _ = call("bench", smollm2, *TINY, "-o", "llama-bench")
    assert code == 0
    pp, tg = json.loads(out)
    assert list(pp) == LLAMA_BENCH_FIELDS
    assert (pp["n_prompt"], pp["n_gen"], tg["n_prompt"], tg["n_gen"]) == (32, 0, 0, 8)
    assert tg["samples_ts"][0] == pytest.approx(8e9 / tg["samples_ns"][0], rel=1e-6)
    assert pp["n_threads"] == 1


@pytest.mark.engine
def test_a_long_run_compares_its_beginning_with_its_end(call: Call, smollm2: Path) -> None:
    """A minute is too long for a test: the thirds of a second are compared instead."""
    code, out, err = call("bench", smollm2, *TINY, "-p", "256", "--sustain", "0.02", "--json")
    assert code == 0, err
    document = json.loads(out)
    jsonschema.validate(document, schema_of("bench"))
    assert [one["test"] for one in document["sustained"]] == ["pp32", "pp256", "tg8"]
    for one in document["sustained"]:
        assert one["verdict"] in ("steady", "throttled", "unclear")
        assert one["ratio"]["low"] < one["ratio"]["value"] < one["ratio"]["high"]
    code, out, _ = call("bench", smollm2, *TINY, "--sustain", "0.02")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80


# --- what is refused ------------------------------------------------------------------------------------------


def gguf(**metadata: str | int | bool) -> bytes:
    """A GGUF without tensors."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    content = b"GGUF" + struct.pack("<IQQ", 3, 0, len(metadata))
    for key, value in metadata.items():
        content += text(key.replace("__", "."))
        if isinstance(value, bool):
            content += struct.pack("<I?", 7, value)
        elif isinstance(value, int):
            content += struct.pack("<IH", 2, value)
        else:
            content += struct.pack("<I", 8) + text(value)
    return content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is not there"),
        (b"", "not a GGUF file"),
        (b"\x7fELF" + bytes(100), "not a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (gguf(general__architecture="llama", split__no=1, split__count=3), "part 2 of 3"),
        (gguf(general__architecture="nomic-bert"), "embedding model"),
        (
            gguf(general__architecture="gemma-embedding", **{"gemma-embedding__attention__causal": False}),
            "embedding",
        ),
        (gguf(general__architecture="clip"), "vision"),
    ],
)
def test_what_is_no_language_model_is_refused_before_anything_runs(
    content: bytes | None, said: str, call: Call, tmp_path: Path
) -> None:
    """Exit code 2 and the reason, with the file's name."""
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    code, out, err = call("bench", path)
    assert (code, out) == (2, "")
    assert said in err
    assert "model.gguf" in err


def test_a_folder_is_refused_with_the_models_in_it(call: Call, tmp_path: Path) -> None:
    """Most likely one of them was meant."""
    (tmp_path / "inside.gguf").write_bytes(b"")
    code, _, err = call("bench", tmp_path)
    assert code == 2
    assert "inside.gguf" in err


@pytest.mark.engine
def test_a_cut_file_and_an_unknown_architecture_are_refused(
    call: Call, smollm2: Path, tmp_path: Path
) -> None:
    """The header finds the first, the engine the second."""
    cut = tmp_path / "cut.gguf"
    with smollm2.open("rb") as whole:
        cut.write_bytes(whole.read(30_000_000))
    code, _, err = call("bench", cut)
    assert code == 2
    assert "cut off" in err
    strange = tmp_path / "strange.gguf"
    strange.write_bytes(gguf(general__architecture="frobnicator"))
    code, _, err = call("bench", strange)
    assert code == 2
    assert "frobnicator" in err


@pytest.mark.engine
def test_a_context_larger_than_the_memory_is_refused_before_it_is_taken(call: Call, smollm2: Path) -> None:
    """A system that overcommits would end the engine, or something else, instead of saying no."""
    code, _, err = call("bench", smollm2, *TINY, "-d", "16000000")
    assert code == 3
    assert "is free" in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("-p", "many"), "many"),
        (("-p", "8-4"), "8-4"),
        (("-p", "0-8*2"), "never ends"),
        (("-t", "0"), "'0'"),
        (("-ctk", "q9_9"), "q9_9"),
        (("-fa", "maybe"), "maybe"),
        (("-pg", "512"), "512"),
        (("-r", "1"), "1"),
        (("-p", "0", "-n", "0"), "no test"),
        (("-p", "1-2000"), "1000 rows"),
        (("--sustain", "1", "-t", "1,2"), "--sustain"),
        (("--sustain", "1", "-o", "csv"), "--sustain"),
    ],
)
def test_options_that_mean_nothing_are_refused_by_name(
    arguments: tuple[str, ...], named: str, call: Call, tmp_path: Path
) -> None:
    """Exit code 2 and the value, before a file is opened."""
    code, out, err = call("bench", tmp_path / "any.gguf", *arguments)
    assert (code, out) == (2, "")
    assert named in err


# --- the process ----------------------------------------------------------------------------------------------


def start(tmp_path: Path, *arguments: str | Path, **environ: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-c",
        "from advisor.cli.main import main; main()",
        "bench",
        *map(str, arguments),
    ]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path / "data"), **environ},
    )


def test_without_the_engine_the_command_that_installs_it_is_said(smollm2: Path, tmp_path: Path) -> None:
    """Exit code 5."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "llama_cpp.py").write_text("raise ImportError('hidden for this test')")
    process = start(tmp_path, smollm2, *TINY, PYTHONPATH=str(tmp_path / "hidden"))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "install" in err


@pytest.mark.engine
def test_ctrl_c_ends_the_run_the_worker_and_leaves_nothing(smollm2: Path, tmp_path: Path) -> None:
    """Exit code 130, nothing on stdout, nothing recorded, no process left."""
    process = start(tmp_path, smollm2, "-p", "512", "-n", "0", "-r", "1000", "-t", "1", "--under-load")
    assert process.stderr is not None
    for line in process.stderr:
        if "repetition 1" in line:
            break
    (worker,) = psutil.Process(process.pid).children()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "interrupted" in err
    assert not worker.is_running()
    assert not (tmp_path / "data").exists()


@pytest.mark.engine
def test_a_file_name_with_control_characters_reaches_no_terminal(
    call: Call, smollm2: Path, tmp_path: Path
) -> None:
    """A name from a stranger's archive is shown spelled out."""
    odd = tmp_path / "odd\x1b[31m.gguf"
    shutil.copyfile(smollm2, odd)
    code, out, err = call("bench", odd, *TINY)
    assert code == 0
    assert "\x1b" not in out + err


def recorded(tmp_path: Path) -> list[dict[str, Any]]:
    lines = [line for path in (tmp_path / "data").rglob("*.jsonl") for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


@pytest.mark.engine
def test_what_was_measured_is_kept_with_what_was_predicted(
    call: Call, smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quiet run leaves a line a test for the ledger; a run under load leaves none."""
    assert call("bench", smollm2, *TINY)[0] == 0
    assert recorded(tmp_path) == []
    monkeypatch.setattr("profiles.noise.cpu_times", lambda machine: None)  # tests run beside other tests
    monkeypatch.setattr("profiles.rounds.LOOSE", float("inf"))
    code, _, err = call("bench", smollm2, *(option for option in TINY if option != "--under-load"))
    assert code == 0, err
    pp, tg = recorded(tmp_path)
    assert (pp["n_prompt"], tg["n_gen"], tg["threads"]) == (32, 8, 1)
    assert pp["evidence"] == "measured"
    assert pp["pp"]
    assert pp["predicted_pp"]
    assert tg["file_sha256"]
