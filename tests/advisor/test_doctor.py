"""`doctor` and `engine install` as a user runs them: with an engine, without one, with a broken one."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from advisor.cli.schema import schema_of
from advisor.doctor import Check, build_checks
from profiles.device import Accelerator, Cpu, Device, Platform
from profiles.engine.build import plan_build
from profiles.engine.fit import suits
from profiles.engine.installed import InstalledEngine
from profiles.engine.protocol import EngineDevice, EngineVersion
from profiles.engine.toolchain import Compiler, Python, Toolchain

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _engine() -> None:
    pytest.importorskip("llama_cpp")


class Environment:
    """A virtual environment with all that this one has, but for the engine."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "env", symlinks=True, with_pip=False)
        self.python = folder / "env" / "bin" / "python"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        others = folder / "others"
        others.mkdir()
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if not entry.name.startswith("llama_cpp") and entry.suffix != ".pth":
                (others / entry.name).symlink_to(entry)
        (site,) = (folder / "env" / "lib").glob("python*/site-packages")
        (site / "others.pth").write_text(f"{others}\n{ROOT}\n")

    def run(self, *args: str, before: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """slm-advisor with `args`, after the Python statements `before`."""
        code = f"import sys\n{before}\nfrom advisor.cli.main import run\nsys.exit(run({list(args)!r}))"
        return subprocess.run(
            [self.python, "-P", "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "TMPDIR": str(self.temporary), "COLUMNS": "200", **environ},
        )

    def identity(self) -> str:
        """What the results of the engine that is installed are kept under."""
        code = "from profiles.engine.installed import installed_engine; print(installed_engine().identity)"
        return subprocess.run(
            [self.python, "-P", "-c", code], capture_output=True, text=True, check=True
        ).stdout

    def install(self, wheel: Path, *args: str) -> subprocess.CompletedProcess[str]:
        """`engine install` with a wheel that is built already in place of the source."""
        ready = f"import profiles.engine.build\nprofiles.engine.build.REQUIREMENT = {str(wheel)!r}"
        # The name of the wheel is no requirement: what it is compared with is left alone.
        ready += "\nimport profiles.engine.fit\nprofiles.engine.fit.REQUIREMENT = 'llama-cpp-python>=0.3.36'"
        return self.run("engine", "install", *args, before=ready)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed engine, packed to the wheel it came from."""
    return pack(tmp_path_factory.mktemp("wheel"))


def pack(folder: Path, damage: Callable[[Path, bytes], bytes] = lambda file, content: content) -> Path:
    folder.mkdir(exist_ok=True)
    distribution = importlib.metadata.distribution("llama-cpp-python")
    tag = (distribution.read_text("WHEEL") or "").partition("Tag: ")[2].split()[0]
    path = folder / f"llama_cpp_python-{distribution.version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in distribution.files or ():
            place = Path(str(file.locate()))
            ours = file.parts[0].startswith("llama_cpp")
            if not ours or "__pycache__" in file.parts or file.name in ("INSTALLER", "REQUESTED"):
                continue
            archive.writestr(str(file), damage(place, place.read_bytes()))
    return path


def cut(file: Path, content: bytes) -> bytes:
    """A library that is not all there."""
    return content[:1000] if file.name.startswith("libllama.") else content


def trapped(file: Path, content: bytes) -> bytes:
    """An engine that starts, loads models and dies of an instruction its processor has not when it runs one."""
    if not file.name.startswith("libllama."):
        return content
    import ctypes

    decode = ctypes.cast(ctypes.CDLL(str(file)).llama_decode, ctypes.c_void_p).value
    assert decode is not None
    start = ctypes.string_at(decode, 48)
    assert content.count(start) == 1
    trap = b"\x0f\x0b" if platform.machine() in ("x86_64", "AMD64") else bytes(4)  # ud2, udf
    return content.replace(start, trap + start[len(trap) :])


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("bare"))


def doctor(environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "advisor.cli.main", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environ or {})},
    )


def test_an_engine_that_works_is_found_well_and_runs_a_model() -> None:
    answer = doctor()
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    jsonschema.validate(document, schema_of("doctor"))
    states = {check["name"]: check["state"] for check in document["checks"]}
    assert (states["engine"], states["worker"], states["test run"]) == ("ok", "ok", "ok")
    assert document["engine"]["identity"].startswith("llama-cpp-python 0.")
    assert document["engine"]["devices"][-1]["backend"] == "CPU"
    assert document["exit_code"] == 0


def test_an_engine_that_was_never_calibrated_is_sent_to_calibrate(tmp_path: Path) -> None:
    document = json.loads(doctor({"XDG_DATA_HOME": str(tmp_path)}).stdout)
    (found,) = [check for check in document["checks"] if check["name"] == "calibration"]
    assert (found["state"], found["advice"]) == ("improve", "slm-advisor calibrate")


def test_a_damaged_library_is_a_failed_check_and_no_crash_of_ours(tmp_path: Path) -> None:
    import llama_cpp

    for library in Path(llama_cpp.__file__).parent.joinpath("lib").glob("libllama.*"):
        (tmp_path / library.name).write_bytes(library.read_bytes()[:100_000])
    answer = doctor({"LLAMA_CPP_LIB_PATH": str(tmp_path)})
    assert answer.returncode == 3, answer.stderr
    document = json.loads(answer.stdout)
    jsonschema.validate(document, schema_of("doctor"))
    (broken,) = [check for check in document["checks"] if check["state"] == "failed"]
    assert broken["name"] == "engine"
    assert broken["advice"] == "slm-advisor engine install --force"
    assert not document["fits"]


def test_without_an_engine_the_command_that_gets_one_is_shown(bare: Environment) -> None:
    answer = bare.run("doctor")
    assert answer.returncode == 5, answer.stderr
    assert "MISSING  engine" in answer.stdout
    assert "-> slm-advisor engine install" in answer.stdout
    command = answer.stdout.partition("CMAKE_ARGS=")[2].partition("\n\n")[0]
    # It goes into the environment that asked, wherever that is.
    assert f"{bare.python} -m pip install" in " ".join(command.replace("\\\n", " ").split())
    assert "'llama-cpp-python>=0.3.36'" in command
    document = json.loads(bare.run("doctor", "--json").stdout)
    jsonschema.validate(document, schema_of("doctor"))
    assert document["engine"] is None
    assert document["exit_code"] == 5


def test_lines_for_people_fit_80_columns(bare: Environment) -> None:
    text = bare.run("doctor").stdout
    prose = [line for line in text.splitlines() if "=" not in line and "/" not in line]
    assert max(map(len, prose)) <= 80


def test_a_dry_run_says_what_it_would_do_and_does_nothing(bare: Environment) -> None:
    answer = bare.run("engine", "install", "--backend", "cpu", "--dry-run")
    assert answer.returncode == 0
    assert "GGML_NATIVE=ON" in answer.stdout
    assert "minutes" in answer.stdout
    assert bare.run("doctor", "--json").returncode == 5


def test_what_is_missing_for_a_backend_stops_before_anything_is_fetched(bare: Environment) -> None:
    answer = bare.run("engine", "install", "--backend", "sycl", PATH="/nonexistent")
    assert answer.returncode == 5
    assert "icpx" in answer.stderr
    assert list(bare.temporary.iterdir()) == []


def test_installing_makes_a_missing_engine_work_and_never_breaks_one_that_does(
    tmp_path: Path, wheel: Path
) -> None:
    """The real pip, the real engine; only the compiler's work has been done before."""
    (tmp_path / "here").mkdir()
    here = Environment(tmp_path / "here")
    first = here.install(wheel)
    assert first.returncode == 0, first.stderr
    assert "Installed llama-cpp-python" in first.stdout
    assert "installing" in first.stderr
    assert here.run("doctor").returncode == 0

    again = here.install(wheel)
    assert again.returncode == 0
    assert "Nothing to do" in again.stdout

    identity = here.identity()
    forced = here.install(wheel, "--force")
    assert forced.returncode == 0, forced.stderr
    assert here.identity() == identity  # so that measurements and calibrations are still found
    assert "what the old one could" in forced.stdout

    for damage, words in ((cut, "the old engine was kept"), (trapped, "a tiny model does not run")):
        broken = here.install(pack(tmp_path / damage.__name__, damage), "--force")
        assert broken.returncode == 5
        assert words in broken.stderr
        assert here.run("doctor").returncode == 0
    assert [entry.suffix for entry in here.temporary.iterdir()] == [".log"] * 2  # of the failures


# --- what is said of a build that could be better ----------------------------------------------------------------

RTX = Accelerator(name="RTX 4090", vendor="NVIDIA", backend="cuda", compute_capability="8.9", driver="580.1")
CPU_LINE = "CPU : AVX = 1 | AVX2 = 1 | OPENMP = 1 |"
CUDA0 = EngineDevice(name="CUDA0", description="RTX 4090", kind="gpu", backend="CUDA")
VULKAN0 = EngineDevice(name="Vulkan0", description="RTX 4090", kind="gpu", backend="Vulkan")


def checks(
    folder: Path, version: EngineVersion, *accelerators: Accelerator, nvcc: bool = True, gcc: int = 12
) -> dict[str, Check]:
    device = Device(
        cpu=Cpu(isa=("avx", "avx2")), accelerators=accelerators, platform=Platform(system="linux")
    )
    tools = Toolchain(
        python=Python(executable="python", pip=("pip",)),
        compiler=Compiler(family="gcc", major=gcc),
        nvcc="/usr/local/cuda/bin/nvcc" if nvcc else None,
        cuda=(12, 8) if nvcc else None,
    )
    installed = InstalledEngine(version=version.package, folder=str(folder), digest="0")
    return {c.name: c for c in build_checks(device, tools, plan_build(device, tools), installed, version)}


def test_a_card_the_engine_does_not_see_is_said_with_the_command(tmp_path: Path) -> None:
    found = checks(tmp_path, EngineVersion("0.3.36", features=CPU_LINE), RTX)
    assert (found["GPU"].state, found["GPU"].advice) == ("improve", "slm-advisor engine install")
    assert "RTX 4090 is not used" in found["GPU"].detail
    without = checks(tmp_path, EngineVersion("0.3.36", features=CPU_LINE), RTX, nvcc=False)
    assert "CUDA toolkit" in without["GPU"].detail
    assert "cuda-downloads" in (without["GPU"].advice or "")


def test_a_card_that_is_used_by_its_own_backend_is_fine_and_by_another_is_not(tmp_path: Path) -> None:
    best = EngineVersion("0.3.36", features=CPU_LINE + " CUDA : ARCHS = 890 |", devices=(CUDA0,))
    assert checks(tmp_path, best, RTX)["GPU"].state == "ok"
    second = EngineVersion("0.3.36", features=CPU_LINE, devices=(VULKAN0,))
    assert checks(tmp_path, second, RTX)["GPU"].state == "improve"


def test_code_for_older_cards_than_this_one_is_said(tmp_path: Path) -> None:
    old = EngineVersion("0.3.36", features=CPU_LINE + " CUDA : ARCHS = 750,860 |", devices=(CUDA0,))
    found = checks(tmp_path, old, RTX)["GPU"]
    assert found.state == "improve"
    assert "8.6 at most" in found.detail


def test_a_build_with_the_backend_and_no_card_points_at_the_driver(tmp_path: Path) -> None:
    (tmp_path / "libggml-cuda.so").touch()
    found = checks(tmp_path, EngineVersion("0.3.36", features=CPU_LINE), RTX)["GPU"]
    assert found.state == "improve"
    assert "driver" in (found.advice or "")


def test_a_build_for_any_processor_is_said_with_what_it_leaves_unused(tmp_path: Path) -> None:
    found = checks(tmp_path, EngineVersion("0.3.36", features="CPU : AVX = 1 |"))
    assert (found["processor"].state, found["threads"].state) == ("improve", "improve")
    assert "AVX2" in found["processor"].detail


def test_a_build_with_kernels_for_tiles_is_to_be_replaced(tmp_path: Path) -> None:
    """They abort, or compute wrongly, for some models."""
    version = EngineVersion("0.3.36", features=CPU_LINE + " AMX_INT8 = 1 |")
    found = checks(tmp_path, version)["processor"]
    assert (found.state, found.advice) == ("improve", "slm-advisor engine install")
    assert "AMX" in found.detail
    installed = InstalledEngine(version="0.3.36", folder=str(tmp_path), digest="0")
    device, tools = (
        Device(cpu=Cpu(isa=("avx", "avx2"))),
        Toolchain(python=Python(executable="python", pip=("pip",))),
    )
    assert not suits(plan_build(device, tools), device, version, installed, None)
    plain = EngineVersion("0.3.36", features=CPU_LINE)
    assert suits(plan_build(device, tools), device, plain, installed, None)


@pytest.mark.slow
def test_the_engine_is_compiled_from_its_source_and_installed(tmp_path: Path) -> None:
    """Ten processor minutes, and the network."""
    (tmp_path / "here").mkdir()
    here = Environment(tmp_path / "here")
    answer = here.run("engine", "install", "--backend", "cpu")
    assert answer.returncode == 0, answer.stderr
    assert "compiling" in answer.stderr
    document = json.loads(here.run("doctor", "--json").stdout)
    assert document["fits"]
    assert here.run("engine", "install", "--backend", "cpu").stdout.startswith("Nothing to do")
