"""The command line as scripts use it: documents that hold their schema, exit codes, clean stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from advisor.cli.main import exit_code, run
from advisor.cli.schema import SCHEMAS, schema_of
from quantize.errors import GatedError, HubError, HubOfflineError, SourceNotFoundError, WrongContentError


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command line in this process: exit code, stdout, stderr."""

    def invoke(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return invoke


PHONE = ("--device", "Pixel 9")


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("recommendation", ("recommend", *PHONE, "--task", "voice", "--top", "3"), 0),
        ("recommendation", ("recommend", *PHONE, "--memory-budget", "20MB"), 3),
        ("explanation", ("explain", "Qwen3-8B", *PHONE), 3),
        (
            "explanation",
            ("recommend", "--why", "Qwen3-0.6B:Q4_K_M", *PHONE, "--min-tg", "0", "--max-ttft", "9999"),
            0,
        ),
        ("estimate", ("estimate", "gemma-3-1b-it:Q4_K_M", *PHONE), 0),
        ("device", ("profile", "--device", "Pixel 9"), 0),
        ("device", ("devices", "show", "Raspberry Pi 5 8GB"), 0),
        ("error", ("recommend", "--device", "no such phone"), 2),
        ("error", ("estimate", "gemma-3-1b-it:Q9_Z", *PHONE), 2),
        ("error", ("estimate", "no-such-model:Q8_0", *PHONE), 2),
        ("error", ("recommend", "--task", "poetry"), 2),
    ],
)
def test_a_document_holds_its_schema(name: str, arguments: tuple[str, ...], expected: int, call: Any) -> None:
    """What is printed under --json validates against what `slm-advisor schema` prints."""
    code, out, _ = call(*arguments, "--json")
    assert code == expected, out
    document = json.loads(out)
    assert document["schema"] == f"slm-advisor/{name}"
    jsonschema.validate(document, schema_of(name))


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_every_schema_is_a_schema(name: str, call: Any) -> None:
    """`schema NAME` prints JSON that is itself a valid JSON Schema."""
    code, out, _ = call("schema", name)
    assert code == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(out))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--context", "-5"), "-5"),
        (("--context", "many"), "many"),
        (("--task", "poetry"), "poetry"),
        (("--memory-budget", "lots"), "lots"),
        (("--min-tg", "nan"), "nan"),
        (("--language", "日本語"), "日本語"),
        (("--top", "0"), "0"),
        (("--license", "wtfpl-9"), "wtfpl-9"),
        (("--device", "Pixel 99 Ultra"), "Pixel 99 Ultra"),
        (("--device", "missing.json"), "missing.json"),
        (("--no-such-option",), "--no-such-option"),
    ],
)
def test_bad_input_is_refused_with_the_value_and_exit_code_2(
    arguments: tuple[str, ...], named: str, call: Any
) -> None:
    """Nothing on stdout, the value on stderr: never an answer to another question."""
    code, out, err = call("recommend", *(() if "--device" in arguments else PHONE), *arguments)
    assert code == 2
    assert out == ""
    assert named in err


def test_an_unknown_device_gets_the_nearest_names(call: Any) -> None:
    """A typing error is answered with names that exist."""
    code, out, _ = call("recommend", "--device", "Rasberry Pi 5", "--json")
    if code == 0:
        pytest.skip("the library understood the spelling")
    assert any("Raspberry Pi 5" in name for name in json.loads(out)["error"]["nearest"])


def test_a_device_file_with_a_string_for_bytes_is_refused_by_field(call: Any, tmp_path: Path) -> None:
    """The message names the field inside the file."""
    file = tmp_path / "board.json"
    file.write_text('{"name": "board", "memory": {"total_bytes": "lots"}}')
    code, _, err = call("recommend", "--device", str(file))
    assert code == 2
    assert "memory.total_bytes" in err
    assert "board.json" in err


@pytest.mark.parametrize("known", [{"total_bytes": 8_000_000_000}, {"bandwidth_bytes_per_s": 50_000_000_000}])
def test_a_device_too_little_is_known_of_ends_with_exit_code_4(
    known: dict[str, int], call: Any, tmp_path: Path
) -> None:
    """Without memory or without bandwidth there is no answer, and the message says what to add."""
    file = tmp_path / "board.json"
    file.write_text(json.dumps({"name": "board", "memory": known}))
    code, out, _ = call("recommend", "--device", str(file), "--json")
    assert code == 4, out
    assert "memory." in json.loads(out)["error"]["message"]


def test_profile_json_can_be_fed_back_as_a_device_file(call: Any, tmp_path: Path) -> None:
    """The schema that is written is the schema that is read."""
    code, out, _ = call("profile", "--json")
    assert code == 0
    file = tmp_path / "this.json"
    file.write_text(out)
    code, out, err = call("profile", "--device", str(file), "--json")
    assert code == 0, err
    assert json.loads(out)["memory"]["total_bytes"]


def test_the_table_fits_eighty_columns(call: Any) -> None:
    """Lines of the ranking and of the explanation are at most 80 columns wide and need no colour."""
    for arguments in (
        ("recommend", "--language", "ja"),
        ("explain", "Qwen3-8B"),
        ("estimate", "Qwen3-8B:Q4_K_M"),
    ):
        _, out, _ = call(*arguments, *PHONE)
        assert out
        assert max(len(line) for line in out.splitlines()) <= 80
        assert "\x1b" not in out


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [str(Path(sys.executable).with_name("slm-advisor")), *arguments]
    return subprocess.run(
        command, capture_output=True, env={**os.environ, **environment}, timeout=60, check=False
    )


def test_a_locale_without_utf8_is_no_reason_to_fail() -> None:
    """Characters the terminal lacks are replaced."""
    done = program("recommend", *PHONE, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


def test_a_missing_home_is_no_reason_to_fail(tmp_path: Path) -> None:
    """Neither HOME nor the cache need exist."""
    gone = str(tmp_path / "gone")
    done = program("recommend", *PHONE, "--json", HOME=gone, XDG_CACHE_HOME=gone, XDG_DATA_HOME=gone)
    assert done.returncode == 0, done.stderr


def test_a_closed_stdout_ends_cleanly() -> None:
    """`slm-advisor catalog list | head -1` prints no traceback."""
    command = f"'{Path(sys.executable).with_name('slm-advisor')}' catalog list --json | head -c 10"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SourceNotFoundError("no weights"), 2),
        (GatedError("accept the licence"), 2),
        (HubError("cut"), 6),
        (HubOfflineError("not in the cache"), 6),
        (WrongContentError("another hash"), 6),
    ],
)
def test_trouble_with_weights_has_the_exit_code_of_its_kind(error: Exception, code: int) -> None:
    assert exit_code(error) == code


HEAVY = (
    "llama_cpp",
    "torch",
    "gguf",
    "textual",
    "huggingface_hub",
    "httpx2",
    "httpx",
    "numpy",
    "scipy",
    "cpuinfo",
    "rich",
)


WIZARD = ("plotext", "textual_plotext", "babel")  # what only the wizard and its making need


@pytest.mark.parametrize(
    "arguments", [("--help",), ("tui", "--help"), ("recommend", *PHONE, "--json"), ("profile", "--json")]
)
def test_start_up_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    """None of the heavy libraries is imported on the way to a JSON answer."""
    script = (
        "import sys\nfrom advisor.cli.main import run\ncode = run(sys.argv[1:])\nsys.stdout.flush()\n"
        f"print([name for name in {(*HEAVY, *WIZARD)!r} if name in sys.modules], file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == b"[]"


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell command in which `slm-advisor` is this installation's."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        env={**os.environ, "PATH": path, **environment},
        timeout=60,
        check=False,
    )


def test_a_reader_that_leaves_a_long_answer_is_a_clean_end(tmp_path: Path) -> None:
    """`estimate --batch | head -1` ends with exit code 0 while the batch is still being written."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        '{"id": 1, "device": "Pixel 9", "model": "qwen2.5-1.5b", "quant": "Q4_K_M"}\n' * 5000,
        encoding="utf-8",
    )
    done = shell(f"slm-advisor estimate --batch {rows} | head -1; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("closed", "code", "said"), [("<&-", 2, b"standard input is closed"), (">&- </dev/null", 0, b"")]
)
def test_a_batch_with_a_closed_stream_ends_cleanly(closed: str, code: int, said: bytes) -> None:
    """Neither a closed stdin nor a closed stdout is an internal error."""
    done = shell(f"slm-advisor estimate --batch - {closed}")
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert b"internal error" not in done.stderr


def test_an_option_beside_a_batch_is_refused(call: Any) -> None:
    """`--batch rows.jsonl --device 'Pixel 9'` would answer for this machine: it is refused instead."""
    code, out, err = call("estimate", "--batch", "rows.jsonl", *PHONE, "--threads", "2")
    assert (code, out) == (2, "")
    assert "--device, --threads" in err


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    """A line that is too long is read past in pieces and gets an error line; the next one is answered."""
    done = shell(
        "ulimit -v 1500000; (head -c 2000000000 /dev/zero; echo; "
        """echo '{"id": 2, "device": "Pixel 9", "model": "qwen2.5-1.5b", "quant": "Q4_K_M"}') """
        "| slm-advisor estimate --batch -"
    )
    assert done.returncode == 3, done.stderr
    bad, good = (json.loads(line) for line in done.stdout.splitlines())
    assert "longer than" in bad["error"]
    assert good["id"] == 2


def test_a_name_that_is_not_utf8_is_an_error_document() -> None:
    """Bytes that no character has are replaced, and the error is still one JSON document with exit code 2."""
    done = shell("slm-advisor recommend --device $'\\xff.json' --json")
    assert done.returncode == 2, done.stderr
    assert json.loads(done.stdout)["error"]["exit_code"] == 2


def test_json_keeps_its_characters_where_stdout_is_ascii(tmp_path: Path) -> None:
    """JSON spells a character that the encoding lacks; it does not lose it."""
    file = tmp_path / "board.json"
    file.write_text('{"name": "基板", "memory": {"total_bytes": 8000000000}}', encoding="utf-8")
    done = program("profile", "--device", str(file), "--json", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "基板"


def test_control_characters_do_not_reach_the_terminal(call: Any, tmp_path: Path) -> None:
    """What a name or an argument could do to a terminal is spelled out instead."""
    file = tmp_path / "board.json"
    file.write_text(
        json.dumps({"name": "x\x1b[31m\x1b]0;title\x07\u202ey\r", "memory": {"total_bytes": 8_000_000_000}}),
        encoding="utf-8",
    )
    code, out, _ = call("profile", "--device", str(file))
    assert code == 0
    _, _, err = call("recommend", "--device", "\x1b[31;5Hred\x1b[31m\x9b2J")
    for text in (out, err):
        assert not any(mark in text for mark in "\x1b\x07\x9b\r\u202e")
    assert "\\x1b" in out


def test_a_full_disk_is_told_even_under_json() -> None:
    """Where no document can be written, stderr says what happened."""
    done = shell("slm-advisor recommend --device 'Pixel 9' --json > /dev/full")
    assert done.returncode == 3
    assert b"No space left" in done.stderr
