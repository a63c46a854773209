"""Running a plan against installers that fail in every way the real one can."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from profiles.device import Device
from profiles.engine.build import plan_build
from profiles.engine.build_facts import EFFORT
from profiles.engine.client import Engine
from profiles.engine.install import Progress, install
from profiles.engine.installed import installed_engine
from profiles.engine.protocol import EngineVersion
from profiles.engine.toolchain import Compiler, Python, Toolchain
from profiles.errors import EngineBuildError, EngineDownloadError


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary files of the test go here, so that what is left behind can be seen."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def untried(engine: Engine, version: EngineVersion) -> None:
    """Nothing is built by these scripts."""


def run(script: str, tmp_path: Path, seen: list[Progress] | None = None) -> None:
    """Install with a script in pip's place."""
    pip = tmp_path / "pip.py"
    pip.write_text(textwrap.dedent(script))
    python = Python(executable=sys.executable, pip=(sys.executable, str(pip)))
    tools = Toolchain(python=python, compiler=Compiler(family="gcc", major=12))
    install(plan_build(Device(), tools), (seen if seen is not None else []).append, untried)


def failing(output: str) -> str:
    return f"print({output!r})\nraise SystemExit(1)"


@pytest.mark.parametrize(
    ("output", "words", "advice"),
    [
        ("/x/ops.cpp:12:3: error: 'foo' was not declared", "'foo' was not declared", None),
        ("c++: fatal error: Killed signal terminated program cc1plus", "Killed signal", "PARALLEL_LEVEL=1"),
        ("/x/a.o: fatal error: error writing: No space left on device", "No space left", "TMPDIR"),
        ("CMake Error: Could NOT find Vulkan (missing: glslc)", "Could NOT find Vulkan", "Vulkan"),
        ("#error -- unsupported GNU version! gcc later than 13", "unsupported GNU version", "CUDAHOSTCXX"),
        ("something nobody foresaw", "something nobody foresaw", None),
    ],
    ids=["code", "memory", "disk", "package", "nvcc", "unknown"],
)
def test_a_failed_build_shows_the_telling_lines_and_what_to_do(
    output: str, words: str, advice: str | None, tmp_path: Path
) -> None:
    noise = "\n".join(f"[{n}/60] Building CXX object a{n}.o" for n in range(1, 50))
    with pytest.raises(EngineBuildError) as failure:
        run(failing(f"{noise}\n{output}"), tmp_path)
    message = str(failure.value)
    assert words in message
    assert "still there" in message
    assert len(message.splitlines()) < 12
    assert advice is None or advice in message
    log = Path(message.rsplit(": ", 1)[1])
    assert output in log.read_text()


def test_a_source_that_cannot_be_fetched_is_told_apart(tmp_path: Path) -> None:
    offline = "ERROR: No matching distribution found for llama-cpp-python>=0.3.36"
    with pytest.raises(EngineDownloadError, match="could not be downloaded"):
        run(failing(offline), tmp_path)


def test_progress_names_the_phase_and_counts_the_files(tmp_path: Path) -> None:
    seen: list[Progress] = []
    script = """
        print("  *** Configuring CMake...")
        print("  [1/3] /usr/bin/c++ -O3 -c a.cpp")
        print("  [3/3] Linking")
        print("[ 45%] Building CXX object")
        print("  *** Making wheel...")
        raise SystemExit(1)
    """
    with pytest.raises(EngineBuildError):
        run(script, tmp_path, seen)
    # A busy machine may hear of a phase twice.
    assert list(dict.fromkeys((step.phase, step.done, step.total) for step in seen)) == [
        ("downloading", 0, 0),
        ("configuring", 0, 0),
        ("compiling", 1, 3),
        ("compiling", 3, 3),
        ("compiling", 45, 100),
        ("packing", 0, 0),
    ]


def test_while_pip_is_silent_the_time_still_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profiles.child.TICK_S", 0.05)
    seen: list[Progress] = []
    script = """
        import time
        print("  [2/3] /usr/bin/c++ -O3 -c slow.cpp")
        time.sleep(1)
        raise SystemExit(1)
    """
    with pytest.raises(EngineBuildError):
        run(script, tmp_path, seen)
    silent = [step for step in seen if step.phase == "compiling"]
    assert {(step.done, step.total) for step in silent} == {(2, 3)}
    assert len(silent) > 2
    assert [step.elapsed_s for step in silent] == sorted({step.elapsed_s for step in silent})


def test_too_little_room_is_noticed_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = tmp_path / "ran"
    monkeypatch.setitem(EFFORT, "cpu", msgspec.structs.replace(EFFORT["cpu"], disk_bytes=1 << 60))
    with pytest.raises(EngineBuildError, match="TMPDIR"):
        run(f"open({str(pip)!r}, 'w')", tmp_path)
    assert not pip.exists()


def test_an_installer_that_cannot_be_started_is_an_error_of_ours(tmp_path: Path) -> None:
    tools = Toolchain(python=Python(executable="x", pip=(str(tmp_path / "no-such-pip"),)))
    with pytest.raises(EngineBuildError, match="cannot be started"):
        install(plan_build(Device(), tools), lambda _: None, untried)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name)
def test_an_end_asked_for_ends_the_compilers_and_leaves_no_files(
    ending: signal.Signals, tmp_path: Path, scratch: Path
) -> None:
    """The compilers are grandchildren that would not hear of Ctrl-C or of a shutdown themselves."""
    pids = tmp_path / "pids"
    pip = tmp_path / "pip.py"
    pip.write_text(
        textwrap.dedent(f"""
        import os, pathlib, signal, subprocess, sys, tempfile, time
        tempfile.mkdtemp()
        deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", deaf])
        time.sleep(0.3)
        pathlib.Path({str(pids)!r}).write_text(f"{{os.getpid()}} {{child.pid}}")
        time.sleep(600)
        """)
    )
    script = f"""
import sys, tempfile
tempfile.tempdir = {str(scratch)!r}
from profiles.device import Device
from profiles.engine.build import plan_build
from profiles.engine.install import install
from profiles.engine.toolchain import Python, Toolchain
pip = (sys.executable, {str(pip)!r})
install(plan_build(Device(), Toolchain(python=Python(executable=sys.executable, pip=pip))), print, print)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    builders = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
    parent.send_signal(ending)
    assert parent.wait(10) == (-ending if ending is signal.SIGINT else 128 + ending)
    for builder in builders:
        wait_for(lambda b=builder: not b.is_running() or b.status() == psutil.STATUS_ZOMBIE)
    assert list(scratch.iterdir()) == []


def wait_for(condition, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


# --- which engine is installed --------------------------------------------------------------------------------


def test_an_engine_is_told_from_its_next_build_without_being_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("llama_cpp")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    library = tmp_path / "libllama.so"
    library.write_bytes(b"one build")
    first = installed_engine()
    assert first is not None
    assert first.identity.startswith("llama-cpp-python 0.")
    assert installed_engine() == first
    library.write_bytes(b"another build")
    second = installed_engine()
    assert second is not None
    assert (second.version, second.digest != first.digest) == (first.version, True)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages with an engine that pip has put there, in place of the one that the tests run with."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
    monkeypatch.delenv("LLAMA_CPP_LIB_PATH", raising=False)
    put_engine(tmp_path, b"one build")
    return tmp_path


def put_engine(site: Path, library: bytes, *, record: bool = True) -> None:
    """What pip leaves behind, written anew at another time."""
    files = {"llama_cpp/__init__.py": b"", "llama_cpp/lib/libllama.so": library}
    lines = []
    for name, content in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(content)
        os.utime(site / name, ns=(0, time.time_ns()))
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    metadata = site / "llama_cpp_python-0.3.36.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "RECORD").unlink(missing_ok=True)
    if record:
        (metadata / "RECORD").write_text("".join((*lines, f"{metadata.name}/RECORD,,\n")))


def identity() -> str:
    engine = installed_engine()
    assert engine is not None
    return engine.identity


def test_the_same_wheel_installed_again_is_the_same_engine_and_another_is_not(site: Path) -> None:
    """Calibrations and measurements are kept under the identity."""
    first = identity()
    put_engine(site, b"one build")
    assert identity() == first
    put_engine(site, b"two built")  # as large as the first
    assert identity() != first
    put_engine(site, b"one build")
    (site / "llama_cpp/lib/libllama.so").write_bytes(b"exchanged by hand")
    assert identity() != first


def test_without_the_installers_record_sizes_and_dates_tell_engines_apart(site: Path) -> None:
    put_engine(site, b"one build", record=False)
    first = identity()
    assert identity() == first
    os.utime(site / "llama_cpp/lib/libllama.so", ns=(0, 10**9))
    assert identity() != first


def test_libraries_from_elsewhere_are_not_taken_for_the_recorded_ones(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = identity()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "libllama.so").write_bytes(b"two built")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(elsewhere))
    assert identity() != first


def test_looking_for_the_engine_loads_neither_it_nor_anything_slow() -> None:
    code = (
        "import sys; from profiles.engine.installed import installed_engine; installed_engine(); "
        "sys.exit(bool({'llama_cpp', 'numpy', 'importlib.metadata'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    # -S and a bare path: what a site's own start-up files import is not the question.
    site = Path(sys.modules["msgspec"].__file__ or "").parents[1]
    environment["PYTHONPATH"] += os.pathsep + str(site)
    assert subprocess.run([sys.executable, "-S", "-c", code], env=environment, check=False).returncode == 0
