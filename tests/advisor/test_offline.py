"""Staying off the network: what needs none works without one, and what needs it says who forbids it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from advisor.cli.main import run

PROGRAM = [sys.executable, "-c", "from advisor.cli.main import main; main()"]
SECRET = "hf_thisisnotatokenbutlookslikeone"

# Whoever connects to anything but a socket of this machine's own kernel is found out.
WATCH = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        sys.stderr.write(f"CONNECTED {event} {arguments[1:]}\\n")
sys.addaudithook(watch)
"""


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "SLM_"))}
    return {**kept, "HF_HOME": str(tmp_path / "hf"), "XDG_DATA_HOME": str(tmp_path / "data"), **more}


def call(
    *arguments: str | Path, env: dict[str, str], before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, *PROGRAM, *map(str, arguments)],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


COMMANDS = (
    ("profile", "--json"),
    ("recommend", "--device", "Pixel 9", "--json"),
    ("explain", "Qwen3-0.6B", "--device", "Pixel 9"),
    ("estimate", "Qwen3-0.6B:Q8_0", "--device", "Pixel 9"),
    ("catalog", "list"),
    ("devices", "find", "pixel"),
    ("pin", "SmolLM2-360M-Instruct:Q8_0", "--device", "Pixel 9", "--out", "{tmp}/d.json", "--replace"),
    ("doctor",),
    ("ledger",),
)


@pytest.fixture(scope="session")
def without_network() -> tuple[str, ...]:
    """A command that starts another in a network namespace in which there is nothing, not even loopback."""
    prefix = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user", "--net")
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("no network namespace can be made here")
    return prefix


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_commands_answer_where_there_is_no_network(
    arguments: tuple[str, ...], without_network: tuple[str, ...], tmp_path: Path
) -> None:
    done = call(
        *(a.format(tmp=tmp_path) for a in arguments), env=environment(tmp_path), before=without_network
    )
    assert done.returncode in ((0, 3) if arguments[0] == "doctor" else (0,)), done.stderr


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_offline_nothing_connects_and_nothing_tells_the_token(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    env = environment(tmp_path, PYTHONPATH=str(tmp_path / "watch"), HF_TOKEN=SECRET)
    done = call(*(a.format(tmp=tmp_path) for a in arguments), "--offline", env=env)
    assert done.returncode in (0, 3)
    assert "CONNECTED" not in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_offline_is_no_question_of_a_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"model": "Qwen3-0.6B", "quant": "Q8_0", "device": "Pixel 9"}\n')
    assert run(["estimate", "--batch", str(rows), "--offline"]) == 0
    assert "tg_tokens_per_s" in capsys.readouterr().out


@pytest.mark.engine
@pytest.mark.parametrize("switch", ["--offline", "SLM_ADVISOR_OFFLINE", "HF_HUB_OFFLINE"])
def test_a_build_from_the_hub_is_refused_by_whoever_forbids_it(switch: str, tmp_path: Path) -> None:
    option = [switch] if switch.startswith("--") else []
    env = environment(tmp_path, HF_TOKEN=SECRET, **({} if option else {switch: "1"}))
    done = call("build", "SmolLM2-135M-Instruct:Q8_0", "--out", tmp_path, *option, env=env)
    assert done.returncode == 6
    assert switch in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert not list(tmp_path.glob("SmolLM2*"))


@pytest.mark.engine
def test_a_build_that_does_not_reach_the_hub_tells_no_token(tmp_path: Path) -> None:
    """Nobody listens there, and the address has a password in it that must not be told either."""
    env = environment(tmp_path, HF_TOKEN=SECRET, HF_ENDPOINT="http://somebody:password@127.0.0.1:9")
    done = call(
        "build", "SmolLM2-135M-Instruct:Q8_0", "--out", tmp_path, env={**env, "SLM_ADVISOR_DEBUG": "1"}
    )
    assert done.returncode == 6, done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert "password" not in done.stdout + done.stderr


@pytest.mark.engine
def test_a_build_from_a_local_file_is_planned_where_there_is_no_network(
    smollm2_f16: Path, without_network: tuple[str, ...], tmp_path: Path
) -> None:
    given = (
        "build",
        "SmolLM2-135M-Instruct:Q4_K_M",
        "--source",
        smollm2_f16,
        "--out",
        tmp_path / "out",
        "--dry-run",
    )
    done = call(*given, env=environment(tmp_path), before=without_network)
    assert done.returncode == 0, done.stderr
    assert "measuring fidelity" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("engine", "install", "--force"), "installing the engine needs the network"),
        (("profile", "--via", "ssh nowhere.invalid"), "asking 'ssh nowhere.invalid' needs the network"),
    ],
)
def test_what_cannot_do_without_says_what_forbids_it(
    arguments: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SLM_ADVISOR_OFFLINE", "1")
    assert run(list(arguments)) == 6
    told = capsys.readouterr().err
    assert words in told
    assert "SLM_ADVISOR_OFFLINE" in told


@pytest.mark.engine
@pytest.mark.slow
def test_a_build_from_a_local_file_needs_no_network(
    smollm2_f16: Path, without_network: tuple[str, ...], tmp_path: Path
) -> None:
    done = call(
        *("build", "SmolLM2-135M-Instruct:Q8_0", "--source", smollm2_f16, "--out", tmp_path, "--no-fidelity"),
        *("--no-imatrix", "--offline"),
        env=environment(tmp_path),
        before=without_network,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "SmolLM2-135M-Instruct-Q8_0" / "SmolLM2-135M-Instruct-Q8_0.gguf").exists()
