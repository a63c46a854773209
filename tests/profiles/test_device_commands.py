"""`profile` and `devices` as a user and a script meet them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from advisor.cli.main import run


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_profile_writes_one_document_that_reads_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The envelope, the device's fields at the top level, and `--device` takes the file."""
    code, out, err = output(capsys, "profile", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["schema"] == "slm-advisor/device"
    assert document["memory"]["total_bytes"] > 0
    assert "sources" in document
    (tmp_path / "this.json").write_text(out, "utf-8")
    code, again, _ = output(capsys, "profile", "--device", str(tmp_path / "this.json"), "--json")
    assert code == 0
    assert json.loads(again)["cpu"] == document["cpu"]


@pytest.mark.parametrize(
    "arguments", [("profile",), ("devices", "show", "Apple M4 Pro"), ("devices", "list")]
)
def test_tables_fit_80_columns(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Every line fits a terminal of 80 columns."""
    code, out, _ = output(capsys, *arguments)
    assert code == 0
    assert max(len(line) for line in out.splitlines()) <= 80


def test_measuring_adds_a_bandwidth(capsys: pytest.CaptureFixture[str]) -> None:
    """`--measure` gives a number, or a note that says why there is none."""
    _, out, _ = output(capsys, "profile", "--measure", "--json")
    document = json.loads(out)
    field = "memory.measured_bandwidth_bytes_per_s"
    measured = document["memory"]["measured_bandwidth_bytes_per_s"]
    assert measured is not None or any(note["field"] == field for note in document["notes"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("profile", "--device", "banana"), "no device 'banana'"),
        (("devices", "show", "M3 Max"), "ambiguous"),
        (("profile", "--device", "nowhere.json"), "nowhere.json: No such file"),
        (("profile", "--device", "Pixel 9", "--measure"), "--measure works on this machine only"),
        (("devices", "list", "--class", "toaster"), "toaster"),
    ],
)
def test_bad_input_is_exit_code_2(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The value is named on standard error, nothing is on standard output; under --json the error is a document."""
    code, out, err = output(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    code, out, err = output(capsys, *arguments, "--json")
    assert (code, err) == (2, "")
    assert words in json.loads(out)["error"]["message"]


def test_an_ambiguous_name_lists_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts get the names to choose from."""
    _, out, _ = output(capsys, "devices", "show", "M3 Max", "--json")
    assert json.loads(out)["error"]["nearest"] == ["Apple M3 Max (30-core GPU)", "Apple M3 Max (40-core GPU)"]


def test_finding_nothing_is_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest names are offered."""
    code, out, err = output(capsys, "devices", "find", "pixell 99")
    assert (code, out) == (3, "")
    assert "Pixel" in err


def test_a_class_filters_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Only phones, each with its memory, bandwidth and source."""
    _, out, _ = output(capsys, "devices", "list", "--class", "phone", "--json")
    rows = json.loads(out)["devices"]
    assert len(rows) > 40
    assert {row["class"] for row in rows} == {"phone"}
    assert all(row["bandwidth_bytes_per_s"] and row["memory_gb"] and row["source"] for row in rows)


def test_profiling_imports_nothing_heavy() -> None:
    """The start-up path does not load the engine, NVML, psutil, py-cpuinfo or rich where there is no need."""
    code = (
        "import sys; from advisor.cli.main import run; run(['profile', '--json']);"
        "print(sorted({'llama_cpp', 'gguf', 'numpy', 'scipy', 'cpuinfo', 'rich', 'tomllib', 'psutil'}"
        " & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"
