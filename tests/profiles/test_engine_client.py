"""The engine's client against workers that misbehave in every way a real one can."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from profiles.engine import client
from profiles.engine.client import Engine
from profiles.engine.protocol import EngineFailure, EngineVersion


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch):
    """Returns a function that puts a script in the worker's place."""

    def replace(script: str) -> None:
        monkeypatch.setattr(client, "_WORKER", textwrap.dedent(script))

    return replace


def failure(reply: object) -> EngineFailure:
    assert isinstance(reply, EngineFailure), reply
    return reply


def test_a_worker_that_aborts_is_a_value_with_its_last_words(worker) -> None:
    worker("""
        import os, sys
        sys.stdin.readline()
        print("ggml.c:1234: GGML_ASSERT(n > 0) failed", file=sys.stderr, flush=True)
        os.abort()
    """)
    with Engine() as engine:
        reply = failure(engine.version())
    assert reply.kind == "crashed"
    assert "SIGABRT" in reply.message
    assert "GGML_ASSERT(n > 0) failed" in reply.message


def test_a_worker_ended_by_the_system_is_told_apart_from_a_crash(worker) -> None:
    worker("""
        import os, signal, sys
        sys.stdin.readline()
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    with Engine() as engine:
        reply = failure(engine.version())
    assert reply.kind == "killed"
    assert "memory" in reply.message


def test_a_worker_that_hangs_is_given_up_and_ended(worker) -> None:
    worker("""
        import time
        print("thinking", file=__import__("sys").stderr, flush=True)
        time.sleep(600)
    """)
    with Engine(timeout_s=0.5) as engine:
        started = time.monotonic()
        reply = failure(engine.version())
    assert time.monotonic() - started < 5
    assert (reply.kind, reply.last_words) == ("timeout", "thinking")
    assert not [child for child in psutil.Process().children() if "thinking" in " ".join(child.cmdline())]


def test_a_worker_that_cannot_even_start_is_a_value(worker) -> None:
    worker("raise SystemExit('no such engine')")
    with Engine() as engine:
        reply = failure(engine.version())
    assert reply.kind == "crashed"
    assert "no such engine" in reply.message


def test_the_next_question_after_a_crash_gets_a_new_worker(worker, tmp_path: Path) -> None:
    worker(f"""
        import os, pathlib, sys
        sys.stdin.readline()
        marker = pathlib.Path({str(tmp_path / "crashed-once")!r})
        if not marker.exists():
            marker.touch()
            os.abort()
        print('{{"type": "EngineVersion", "package": "1.2.3"}}', flush=True)
        sys.stdin.read()
    """)
    with Engine() as engine:
        assert failure(engine.version()).kind == "crashed"
        assert engine.version() == EngineVersion("1.2.3")


def test_a_missing_engine_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llama_cpp.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(client.__file__).parents[2]}")
    with Engine() as engine:
        reply = failure(engine.version())
    assert reply.kind == "missing"
    assert "slm-advisor[engine]" in reply.message


def test_a_folder_called_profiles_in_the_working_directory_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "profiles"
    trap.mkdir()
    (trap / "__init__.py").write_text("raise SystemExit('ran the wrong code')")
    monkeypatch.chdir(tmp_path)
    with Engine() as engine:
        reply = engine.version()
    assert "ran the wrong code" not in str(reply)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_nothing_is_left_running_when_the_parent_ends(ending: signal.Signals, tmp_path: Path) -> None:
    """Neither Ctrl-C in the middle of a question nor a killed parent leaves a worker behind."""
    script = textwrap.dedent(f"""
        import profiles.engine.client as client
        real = client._WORKER.replace("main()", "")
        client._WORKER = real + '''
        import profiles.engine.worker as w, time
        w._answer = lambda *_: time.sleep(600)
        open({str(tmp_path / "pid")!r}, "w").write(str(__import__("os").getpid()))
        w.main()'''.replace("        ", "")
        with client.Engine() as engine:
            engine.version()
    """)
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    pid_file = tmp_path / "pid"
    wait_for(lambda: pid_file.exists() and pid_file.read_text() != "")
    worker = psutil.Process(int(pid_file.read_text()))
    time.sleep(0.2)  # let the question reach the worker
    parent.send_signal(ending)
    parent.wait(10)
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def wait_for(condition, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_asking_does_not_import_the_engine_here() -> None:
    """Only the worker may load the engine: it costs half a second and can end the process."""
    code = (
        "import sys; from profiles.engine.client import Engine; Engine().version(); "
        "sys.exit('llama_cpp' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0
