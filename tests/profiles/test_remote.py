"""Programs on a target: over real shells and a real sshd, and over commands that lead nowhere good."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from advisor.cli.main import exit_code
from advisor.cli.main import run as run_command
from profiles.errors import RemoteAnswerError, RemoteCommandError, RemoteError, RemoteMissingError
from profiles.remote import run_remote, split_prefix
from profiles.remote_device import collect, detect_remote
from profiles.remote_file import remote_file
from tests.profiles.shells import SHELLS, shell_prefix

ODD = ["a b", "$HOME", "it's", '"', "\\n", "", "*", "-n", "`id`", "é", "two\nlines", ";exit 3"]


@pytest.mark.parametrize("shell", SHELLS)
def test_arguments_arrive_as_they_are(shell: str, tmp_path: Path) -> None:
    """Blanks, quotation marks, line feeds and what shells would expand."""
    result = run_remote(split_prefix(shell_prefix(shell, tmp_path)), ["printf", "%s|", *ODD])
    assert result.exit_code == 0
    assert result.stdout.decode() == "".join(f"{word}|" for word in ODD)


def test_arguments_arrive_over_ssh(ssh: str) -> None:
    """Ssh hands its command to a second shell, and still nothing is expanded; exit code and errors come back."""
    result = run_remote(split_prefix(ssh), ["sh", "-c", 'printf "%s|" "$@"; echo oh >&2; exit 7', "sh", *ODD])
    assert (result.exit_code, result.stderr_tail) == (7, "oh\n")
    assert result.stdout.decode() == "".join(f"{word}|" for word in ODD)


def test_a_device_is_read_over_ssh(ssh: str) -> None:
    """The control groups and limits are those of the shell over there; the hardware is the same."""
    there = detect_remote(split_prefix(ssh))
    here = detect_remote(split_prefix("env"))
    assert there.cpu.name == here.cpu.name
    assert there.memory.total_bytes == here.memory.total_bytes
    assert there.platform.release == here.platform.release


@pytest.mark.parametrize("shell", SHELLS)
def test_a_file_is_hashed_there(shell: str, tmp_path: Path) -> None:
    """Its size and SHA-256 by a program of the target, whatever its name."""
    path = tmp_path / "it's a \\ $model.gguf"
    path.write_bytes(b"GGUF" * 1000)
    found = remote_file(split_prefix(shell_prefix(shell, tmp_path)), str(path))
    assert (found.path, found.size_bytes) == (str(path), 4000)
    assert found.sha256 == hashlib.sha256(b"GGUF" * 1000).hexdigest()


@pytest.mark.parametrize("tool", ["busybox", "shasum", "openssl", "toybox"])
def test_any_program_for_sums_will_do(tool: str, tmp_path: Path) -> None:
    """Where there is no sha256sum, another program is asked, and named; the home folder is that of the target."""
    program = shutil.which(tool)
    if program is None:
        pytest.skip(f"{tool} is not installed")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in (tool, "sh", "wc", "stat", "perl"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    (tmp_path / "m.gguf").write_bytes(b"x")
    prefix = ("env", f"PATH={programs}", f"HOME={tmp_path}")
    answer = remote_file(prefix, "~/m.gguf")
    assert answer.path == str(tmp_path / "m.gguf")
    assert answer.sha256 == hashlib.sha256(b"x").hexdigest()
    assert answer.tool is not None
    assert answer.tool.startswith(tool)


def test_a_target_that_cannot_hash_still_tells_the_size(tmp_path: Path) -> None:
    """An unknown sum is None, and not an error."""
    (tmp_path / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    (tmp_path / "stat").symlink_to(shutil.which("stat") or "/usr/bin/stat")
    (tmp_path / "m.gguf").write_bytes(b"xyz")
    answer = remote_file(("env", f"PATH={tmp_path}"), str(tmp_path / "m.gguf"))
    assert (answer.size_bytes, answer.sha256, answer.tool) == (3, None, None)


@pytest.mark.parametrize(("path", "words"), [("/nowhere/m.gguf", "does not exist"), ("/", "is not a file")])
def test_a_file_that_is_none_is_refused(path: str, words: str) -> None:
    """The message names the file and the way to it."""
    with pytest.raises(RemoteCommandError, match=f"'{path}' on the target of 'env' {words}"):
        remote_file(("env",), path)


BAD = [
    ("no-such-program host", RemoteMissingError, "'no-such-program' is not installed here"),
    ("sh -c 'echo no route to host >&2; exit 255'", RemoteError, "exit code 255.*\n    no route to host"),
    ("true", RemoteAnswerError, "no shell on the target read the script"),
    ("sh -c 'sh -s | head -c 200'", RemoteAnswerError, "was cut after"),
    ("sh -c 'head -c 2000 | sh; exit 1'", RemoteError, "exit code 1"),
    ("sh -c 'yes a very long greeting'", RemoteAnswerError, "256 KiB of something else"),
    ("sh -c 'sh -s; yes'", None, ""),
    ("sh -c 'cat >/dev/null; sleep 60'", RemoteError, "no whole answer within 1 s .nothing so far"),
    (
        "sh -c 'sh -s | sed s/end/END/; sleep 60'",
        RemoteError,
        "no whole answer within 1 s .* bytes and no end",
    ),
    ("sh -c 'cat; sleep 60'", RemoteError, "no whole answer within 1 s .nothing so far"),
    ("sh -c 'sh -s | sed /begin/a\\\\rubbish'", RemoteAnswerError, "does not write: 'rubbish'"),
    ("sh -c 'echo Welcome; printf 123; sh -s'", None, ""),
]


@pytest.mark.parametrize(("prefix", "kind", "words"), BAD, ids=[prefix for prefix, _, _ in BAD])
def test_a_bad_target_fails_closed(prefix: str, kind: type[RemoteError] | None, words: str) -> None:
    """Slow, partial and rubbish answers are refused with the command's name; greetings do no harm."""
    started = time.monotonic()
    if kind is None:
        assert collect(split_prefix(prefix), timeout_s=10).files
    else:
        with pytest.raises(kind, match=words):
            collect(split_prefix(prefix), timeout_s=1)
    assert time.monotonic() - started < 15


def test_a_program_that_prints_too_much_is_stopped() -> None:
    """The bound holds while it prints, not after."""
    with pytest.raises(RemoteAnswerError, match="larger than 100000 bytes"):
        run_remote(("env",), ["yes"], limit_bytes=100_000)


def test_a_program_that_does_not_end_is_ended_there(tmp_path: Path) -> None:
    """Not only the command here: the program on the target is gone too."""
    pid = tmp_path / "pid"
    with pytest.raises(RemoteError, match="did not end within 1 s"):
        run_remote(("env",), ["sh", "-c", f"echo $$ >'{pid}'; exec sleep 60"], timeout_s=1)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_waiting_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing comes, a line says for how long."""
    monkeypatch.setattr("profiles.remote._QUIET_S", 0.3)
    said: list[str] = []
    run_remote(("env",), ["sleep", "1"], timeout_s=20, report=said.append)
    assert said
    assert said[0].startswith("waiting for 'env'")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("docker exec box", ["docker", "exec", "-i", "box"]),
        ("docker exec -it box", ["docker", "exec", "-it", "box"]),
        ("/usr/bin/podman exec --interactive box", ["/usr/bin/podman", "exec", "--interactive", "box"]),
        ("kubectl exec pod --", ["kubectl", "exec", "-i", "pod", "--"]),
        ("ssh -p 22 'a host'", ["ssh", "-p", "22", "a host"]),
    ],
)
def test_containers_are_given_an_input(text: str, words: list[str]) -> None:
    """Without -i, docker exec passes no script on."""
    assert list(split_prefix(text)) == words


@pytest.mark.parametrize("text", ["", "  ", "ssh 'host"])
def test_what_is_no_command_is_bad_input(text: str) -> None:
    """Exit code 2."""
    with pytest.raises(RemoteCommandError) as caught:
        split_prefix(text)
    assert exit_code(caught.value) == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["profile", "--via", "no-such-program x"], 5),
        (["recommend", "--via", "sh -c 'exit 255'"], 6),
        (["explain", "Qwen3-8B", "--via", "true"], 4),
        (["estimate", "Qwen3-8B:Q4_K_M", "--via", ""], 2),
        (["recommend", "--via", "env", "--device", "Pixel 9"], 2),
        (["recommend", "--via", "env", "--confirm", "1"], 2),
        (["profile", "--via", "env", "--measure"], 2),
    ],
)
def test_commands_say_why_a_target_cannot_be_read(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit codes of the table, and one document under --json."""
    assert run_command([*arguments, "--json"]) == code
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == code


def test_a_profile_over_a_shell_is_a_device_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What --via writes, --device takes, and nothing measured on this machine is in it."""
    assert run_command(["profile", "--via", "env", "--json"]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["calibration"] is None
    (tmp_path / "box.json").write_text(text)
    assert run_command(["estimate", "Qwen3-8B:Q4_K_M", "--device", str(tmp_path / "box.json"), "--json"]) == 0
    taken = json.loads(capsys.readouterr().out)["deployment"]["memory"]["reserved_bytes"]
    assert run_command(["estimate", "Qwen3-8B:Q4_K_M", "--via", "env", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deployment"]["memory"]["reserved_bytes"] == taken


def test_a_password_is_not_waited_for(tmp_path: Path) -> None:
    """A command that asks the terminal finds none, even where this process has one."""
    script = tmp_path / "ask"
    script.write_text(
        f"#!{sys.executable}\nimport sys\ntry: open('/dev/tty')\nexcept OSError: sys.exit('no terminal')\n"
    )
    script.chmod(0o755)
    with pytest.raises(RemoteError, match="no terminal"):
        run_remote((str(script),), ["true"], timeout_s=10)
