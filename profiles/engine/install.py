"""Run a `BuildPlan`: compile the engine to a wheel, try it, and only then put it in the place of the old one.

pip is started without a shell, in a process group of its own, so that Ctrl-C and SIGTERM end the compilers too. Its
output goes to a log file; a callback hears of each step, and every second while there is none.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import msgspec

from profiles.child import NETWORK_FAILURE, PIP_SETTINGS, end_group, output_lines, start
from profiles.engine.build import BuildPlan
from profiles.engine.client import Engine
from profiles.engine.installed import DISTRIBUTION, installed_engine
from profiles.engine.protocol import EngineFailure, EngineVersion
from profiles.errors import EngineBuildError, EngineDownloadError
from profiles.offline import no_network
from profiles.orderly_end import orderly_end

Phase = Literal["downloading", "configuring", "compiling", "packing", "trying", "installing"]


class Progress(msgspec.Struct, frozen=True):
    """Where the build is. `done` of `total` files are compiled; 0 of 0 when that is not known."""

    phase: Phase
    done: int = 0
    total: int = 0
    elapsed_s: float = 0.0


Trial = Callable[[Engine, EngineVersion], EngineFailure | None]
"""Runs something with an engine that has started; returns what went wrong."""


def install(plan: BuildPlan, report: Callable[[Progress], None], works: Trial) -> EngineVersion:
    """Build and install by `plan`; returns what the new engine says of itself.

    Raises EngineBuildError, with the compiler's words, or EngineDownloadError. Until the new wheel has been built
    and `works` from a temporary folder, an engine that is there is not touched; where there is none, it is tried
    once it is in its place. SIGTERM and SIGHUP become SystemExit meanwhile.
    """
    started = time.monotonic()

    def tell(phase: Phase, done: int = 0, total: int = 0) -> None:
        report(Progress(phase, done, total, time.monotonic() - started))

    forbidden = no_network("installing the engine")
    if forbidden is not None:
        raise EngineDownloadError(forbidden)
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    if free < plan.disk_bytes:
        raise EngineBuildError(
            f"{place} has {free / 1e9:.1f} GB free, and the build takes about {plan.disk_bytes / 1e9:.1f} GB",
            advice="free some, or set TMPDIR to a folder with more",
        )
    with (
        orderly_end(),
        tempfile.TemporaryDirectory(prefix="slm-advisor-engine-") as folder,
        _log_file() as log,
    ):
        wheels = Path(folder, "wheels")
        # All that pip and the compilers leave in their temporary folder goes with ours.
        environment = {**plan.environment, "TMPDIR": folder}
        build = (*plan.pip, *plan.build_arguments, str(wheels))
        _run("the build", build, environment, log, "downloading", tell)
        wheel = next(wheels.glob("llama_cpp_python-*.whl"), None)
        if wheel is None:
            raise EngineBuildError("pip reported success and left no wheel", log.name)
        if installed_engine() is not None:
            tell("trying")
            _try(wheel, Path(folder, "trial"), works, log.name)
        put = (*plan.pip, *_install_arguments(wheel))
        _run("the installation of the finished build", put, {"TMPDIR": folder}, log, "installing", tell)
        tell("trying")
        answer = _tried(works)
        if isinstance(answer, EngineFailure):
            raise EngineBuildError(f"the new engine does not run here: {answer.message}", log.name)
        return answer


def _tried(works: Trial) -> EngineVersion | EngineFailure:
    with Engine() as engine:
        answer = engine.version()
        failure = works(engine, answer) if isinstance(answer, EngineVersion) else None
    return failure or answer


def _install_arguments(wheel: Path) -> tuple[str, ...]:
    """For the installer. The same version over itself needs force, and has its dependencies already."""
    engine = installed_engine()
    same = engine is not None and wheel.name.startswith(f"llama_cpp_python-{engine.version}-")
    return ("install", *(("--force-reinstall", "--no-deps") if same else ()), str(wheel))


def _try(wheel: Path, folder: Path, works: Trial, log: str) -> None:
    """Try a worker on the unpacked wheel. A build for the wrong driver or processor shows itself here."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), before)))
    try:
        answer = _tried(works)
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    if isinstance(answer, EngineFailure):
        message = f"the new build does not run here, so the old engine was kept: {answer.message}"
        raise EngineBuildError(message, log)


@contextmanager
def _log_file() -> Iterator[IO[str]]:
    """A file for pip's output; it stays when something went wrong, to be looked at."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix="slm-advisor-engine-", suffix=".log", delete=False
    ) as log:
        try:
            yield log
        except (KeyboardInterrupt, SystemExit):
            Path(log.name).unlink(missing_ok=True)
            raise
    Path(log.name).unlink(missing_ok=True)


# --- one command ------------------------------------------------------------------------------------------


_STEP = re.compile(r"^\s*\[ *(\d+)/(\d+)\]")  # ninja
_PERCENT = re.compile(r"^\s*\[ *(\d+)%\]")  # make
_PHASES: tuple[tuple[re.Pattern[str], Phase], ...] = (
    (re.compile(r"^\s*\*\*\* Configuring CMake|^\s*-- The C\w* compiler"), "configuring"),
    (re.compile(r"^\s*\*\*\* Building project"), "compiling"),
    (re.compile(r"^\s*\*\*\* (Installing|Making wheel)"), "packing"),
)


def _run(
    what: str,
    command: tuple[str, ...],
    environment: dict[str, str],
    log: IO[str],
    phase: Phase,
    tell: Callable[[Phase, int, int], None],
) -> None:
    """Run one command to its end. Raises EngineBuildError when it fails; whatever happens, its children end.

    `phase` is what it begins with; the last step is told again while the command is silent.
    """
    step: tuple[Phase, int, int] = (phase, 0, 0)
    tell(*step)
    try:
        process = start(command, {**PIP_SETTINGS, **environment})
    except OSError as error:
        raise EngineBuildError(f"{command[0]} cannot be started: {error.strerror}", log.name) from error
    assert process.stdout is not None
    try:
        for line in output_lines(process.stdout):
            if line is None:
                tell(*step)
                continue
            log.write(line)
            seen = _progress(line)
            if seen is not None:
                step = seen
                tell(*step)
        code = process.wait()
    except BaseException:
        end_group(process)
        raise
    log.flush()
    if code != 0:
        raise _failure(what, Path(log.name).read_text("utf-8", "replace"), code, log.name)


def _progress(line: str) -> tuple[Phase, int, int] | None:
    step = _STEP.match(line)
    if step:
        return "compiling", int(step[1]), int(step[2])
    percent = _PERCENT.match(line)
    if percent:
        return "compiling", int(percent[1]), 100
    return next(((phase, 0, 0) for pattern, phase in _PHASES if pattern.search(line)), None)


# --- what went wrong ----------------------------------------------------------------------------------------

_ERROR = re.compile(
    r"\berror\b(?!s? when|-)[ :]|CMake Error|undefined reference|No space left|Killed|nvcc fatal|ninja: build stopped"
    r"|Could not find|could not be found|^FAILED:|ERROR:",
    re.IGNORECASE,
)
_NOISE = re.compile(
    r"-Werror|subprocess-exited-with-error|Failed building wheel|note: This error|^\s*(╰|│|×)"
)
_MEANINGFUL_LINES = 6
# What the output shows -> what to do. The first that fits.
_ADVICE: tuple[tuple[str, str], ...] = (
    (r"No space left on device", "free disk space, or set TMPDIR to a folder with more"),
    (
        r"Killed signal|internal compiler error: Killed|signal 9|Cannot allocate memory",
        "memory ran out: close other programs, or run again with CMAKE_BUILD_PARALLEL_LEVEL=1",
    ),
    (r"externally-managed-environment", "install slm-advisor with pipx, or in a virtual environment"),
    (
        r"unsupported GNU version|unsupported clang version",
        "this CUDA toolkit wants an older compiler: set CUDAHOSTCXX to one, such as g++-12",
    ),
    (r"Unsupported gpu architecture", "this CUDA toolkit does not know the GPU: install another release"),
    (r"Could NOT find Vulkan|SPIRV-Headers", "the Vulkan development files are incomplete"),
    (r"No CMAKE_CXX_COMPILER|CMAKE_CXX_COMPILER not set", "install a C++ compiler"),
)


def _failure(what: str, output: str, code: int, log: str) -> EngineBuildError:
    lines = output.splitlines()
    telling = [line.strip() for line in lines if _ERROR.search(line) and not _NOISE.search(line)]
    words = tuple(dict.fromkeys(telling))[-_MEANINGFUL_LINES:] or tuple(lines[-_MEANINGFUL_LINES:])
    if NETWORK_FAILURE.search(output) and not any(_progress(line) for line in lines):
        return EngineDownloadError(
            f"{DISTRIBUTION} could not be downloaded; what was installed is still there", log, words
        )
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, output)), None)
    return EngineBuildError(
        f"{what} failed (exit code {code}); what was installed is still there", log, words, advice
    )
