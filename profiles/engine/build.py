"""Which build of the engine suits a device, and the command that makes it. Pure: a device and tools in, a plan out.

llama-cpp-python comes as source, and pip compiles llama.cpp with the options in CMAKE_ARGS. Three things spoil that
easily: pip keeps a wheel it built before and takes it whatever CMAKE_ARGS say now, so the cache is left out; an
environment with SOURCE_DATE_EPOCH set turns off the processor's own instructions, so they are asked for by name;
and one compiler a core can need more memory than a small board has, so the number of jobs is set.

AMX is left out: the kernels for it in llama-cpp-python 0.3.36 abort on deepseek2 and bailingmoe3, give gemma3n values
that are not finite, and, compiled by gcc 12, end each prompt with SIGILL (its amxtileintrin.h lets the compiler drop
most of a tile's configuration; llama.cpp's pull request 26954). A compiler that is told not to define __AMX_INT8__
leaves these kernels out and takes the AVX-512 ones.
"""

from __future__ import annotations

import shlex
from typing import Literal

import msgspec

from profiles.device import Device
from profiles.engine.build_backends import BACKENDS, BuildBackend, Missing
from profiles.engine.build_facts import EFFORT, ROCM_TARGETS, SLOWNESS
from profiles.engine.toolchain import Toolchain

REQUIREMENT = "llama-cpp-python>=0.3.36"  # as the `engine` extra has it
_OLDEST_GCC = 9  # C++17 with <filesystem> in the standard library
_UNSUPPORTED_PLATFORMS = (
    "android",
)  # llama_cpp looks for libraries on linux, darwin, win32 and freebsd only


class BuildPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How to build the engine for a backend; it can be run when nothing is missing."""

    backend: BuildBackend
    cmake_args: tuple[str, ...]
    environment: dict[str, str]  # to be set for the build, CMAKE_ARGS among it
    pip: tuple[str, ...]  # the installer's command, without what to do; empty where there is none
    replaces: bool  # an engine is there already
    reasons: tuple[str, ...]
    missing: tuple[Missing, ...]
    jobs: int
    minutes: tuple[float, float]  # expected, low and high
    disk_bytes: int  # taken while it is built
    better: BuildPlan | None = None  # what would be built were nothing missing

    @property
    def build_arguments(self) -> tuple[str, ...]:
        """For the installer: make a wheel in the folder that is appended. Nothing is installed yet."""
        return ("wheel", "--verbose", *self._source, "--no-deps", REQUIREMENT, "--wheel-dir")

    @property
    def command(self) -> str:
        """One line for a POSIX shell that builds and installs."""
        replace = ("--upgrade", "--force-reinstall", "--no-deps") if self.replaces else ()
        settings = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join((*settings, shlex.join((*self.pip, "install", *replace, *self._source, REQUIREMENT))))

    @property
    def _source(self) -> tuple[str, ...]:
        return ("--no-cache-dir", "--no-binary", "llama-cpp-python")


def plan_build(
    device: Device,
    tools: Toolchain,
    backend: BuildBackend | Literal["auto"] = "auto",
    *,
    replaces: bool = False,
) -> BuildPlan:
    """The build for `device` with `tools`.

    auto: the best backend that can be built now; `better` says what a missing tool keeps away. A named backend is
    planned whether or not it can be built: look at `missing`.
    """
    if backend != "auto":
        return _plan(device, tools, backend, replaces)
    plans = [_plan(device, tools, name, replaces) for name in _wanted(device)]
    now = next((plan for plan in plans if not plan.missing), plans[-1])
    return now if now is plans[0] else msgspec.structs.replace(now, better=plans[0])


def _wanted(device: Device) -> list[BuildBackend]:
    """Backends for the device's GPUs, the fastest first; the processor serves every device."""
    wanted: list[BuildBackend] = []
    for accelerator in device.accelerators:
        match accelerator.vendor:
            case "NVIDIA":
                wanted += ["cuda", "vulkan"]
            case "AMD" if accelerator.compute_capability in ROCM_TARGETS:
                wanted += ["hip", "vulkan"]
            case "AMD" if not accelerator.shared_memory:
                wanted += ["vulkan"]
            case "Intel" if not accelerator.shared_memory:
                wanted += ["sycl", "vulkan"]
            case "Apple" if device.platform.system in (None, "darwin"):
                wanted += ["metal"]
    return list(dict.fromkeys([*wanted, "cpu"]))


def _plan(device: Device, tools: Toolchain, backend: BuildBackend, replaces: bool) -> BuildPlan:
    options = BACKENDS[backend](device, tools)
    effort = EFFORT[backend]
    jobs = tools.jobs or _jobs(device, effort.job_bytes)
    slowness = SLOWNESS.get(device.class_ or "", 1.0)
    tiles = any(name.startswith("amx_") for name in device.cpu.isa or ())
    low, high = (1 + options.times * minutes * slowness / jobs for minutes in effort.core_minutes)
    cmake_args = (
        "-DGGML_NATIVE=ON",  # else SOURCE_DATE_EPOCH in the environment would make a generic build
        "-DLLAVA_BUILD=OFF",  # images are not used here, and leaving them out halves the build
        *options.cmake_args,
        *(f"-DCMAKE_{language}_FLAGS_INIT=-U__AMX_INT8__" for language in (("C", "CXX") if tiles else ())),
        *shlex.split(tools.cmake_args),  # the user's own come last and win
    )
    reasons = list(options.reasons)
    if tiles:
        reasons.append("without AMX, whose kernels in llama.cpp abort or compute wrongly for some models")
    threads = device.cpu.usable_threads
    if threads is not None and jobs < threads and tools.jobs is None:
        reasons.append(f"{jobs} of {threads} compilers at once: each needs {effort.job_bytes / 1e9:g} GB")
    return BuildPlan(
        backend=backend,
        cmake_args=cmake_args,
        environment={
            "CMAKE_ARGS": shlex.join(cmake_args),
            "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs),
            **options.environment,
        },
        pip=tools.python.pip or (),
        replaces=replaces,
        reasons=tuple(reasons),
        missing=(*_missing(device, tools), *options.missing),
        jobs=jobs,
        minutes=(low, high),
        disk_bytes=effort.disk_bytes,
    )


def _jobs(device: Device, job_bytes: int) -> int:
    threads = device.cpu.usable_threads or device.cpu.threads or 1
    memory = device.memory.budget_now_bytes
    return threads if memory is None else max(1, min(threads, memory // job_bytes))


def _missing(device: Device, tools: Toolchain) -> list[Missing]:
    """What every build needs: a Python that may be installed into, pip, a compiler."""
    python = tools.python
    missing = []
    if python.platform in _UNSUPPORTED_PLATFORMS:
        missing.append(
            Missing(
                f"a Python that llama-cpp-python runs on: this one calls its system '{python.platform}'",
                "use a Linux distribution inside Termux: pkg install proot-distro",
            )
        )
    if python.bits != 64:
        missing.append(
            Missing("a 64-bit Python", "this one has 32 bits: install a 64-bit system, or its Python")
        )
    if device.cpu.architecture == "aarch64" and python.machine == "x86_64":
        missing.append(
            Missing(
                "a Python for this processor: this one is translated from x86-64",
                "install slm-advisor with an arm64 Python",
            )
        )
    if python.externally_managed:
        missing.append(
            Missing(
                "an environment of its own: this Python belongs to the system (PEP 668)",
                "pipx install slm-advisor, or: python3 -m venv slm && slm/bin/pip install slm-advisor",
            )
        )
    elif python.pip is None:
        missing.append(Missing("pip", f"{shlex.quote(python.executable)} -m ensurepip --upgrade"))
    if tools.compiler is None:
        missing.append(Missing("a C++ compiler", tools.install("compiler")))
    elif tools.compiler.family == "gcc" and tools.compiler.major < _OLDEST_GCC:
        missing.append(
            Missing(f"gcc {_OLDEST_GCC} or newer (gcc {tools.compiler.major} is here)", "install a newer gcc")
        )
    if not tools.cmake_and_ninja and tools.system == "android":
        missing.append(Missing("cmake and ninja", tools.install("compiler")))
    return missing
