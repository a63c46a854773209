"""Which build of the engine suits a device, and the command that makes it. Pure: a device and tools in, a plan out.

llama-cpp-python comes as source, and pip compiles llama.cpp with the options in CMAKE_ARGS. Three things spoil that
easily: pip keeps a wheel it built before and takes it whatever CMAKE_ARGS say now, so the cache is left out; an
environment with SOURCE_DATE_EPOCH set turns off the processor's own instructions, so they are asked for by name;
and one compiler a core can need more memory than a small board has, so the number of jobs is set.
"""

from __future__ import annotations

import shlex
from typing import Literal

import msgspec

from profiles.device import Accelerator, Device
from profiles.engine.build_facts import (
    CUDA_RELEASES,
    EFFORT,
    ROCM_SINCE,
    ROCM_TARGETS,
    SLOWNESS,
    CudaRelease,
)
from profiles.engine.toolchain import Toolchain

REQUIREMENT = "llama-cpp-python>=0.3.36"  # as the `engine` extra has it
BuildBackend = Literal["cpu", "cuda", "metal", "vulkan", "hip", "sycl"]
BACKENDS: tuple[BuildBackend, ...] = ("cpu", "cuda", "metal", "vulkan", "hip", "sycl")
_OLDEST_GCC = 9  # C++17 with <filesystem> in the standard library
_UNSUPPORTED_PLATFORMS = (
    "android",
)  # llama_cpp looks for libraries on linux, darwin, win32 and freebsd only


class Missing(msgspec.Struct, frozen=True):
    """Something a build needs first."""

    what: str
    install: str  # a command or an advice


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


class _Options(msgspec.Struct):
    """What one backend adds to a plan."""

    cmake_args: list[str]
    reasons: list[str]
    environment: dict[str, str] = {}
    missing: list[Missing] = []


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
    options = {
        "cpu": _cpu,
        "cuda": _cuda,
        "metal": _metal,
        "vulkan": _vulkan,
        "hip": _hip,
        "sycl": _sycl,
    }[backend](device, tools)
    effort = EFFORT[backend]
    jobs = _jobs(device, effort.job_bytes)
    slowness = SLOWNESS.get(device.class_ or "", 1.0)
    low, high = (minutes * slowness / jobs for minutes in effort.core_minutes)
    cmake_args = (
        "-DGGML_NATIVE=ON",  # else SOURCE_DATE_EPOCH in the environment would make a generic build
        "-DLLAVA_BUILD=OFF",  # images are not used here, and leaving them out halves the build
        *options.cmake_args,
        *shlex.split(tools.cmake_args),  # the user's own come last and win
    )
    reasons = list(options.reasons)
    threads = device.cpu.usable_threads
    if threads is not None and jobs < threads:
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


# --- one function a backend ---------------------------------------------------------------------------------


def _cpu(device: Device, tools: Toolchain) -> _Options:
    reasons = [f"compiled for this very processor ({device.cpu.name or 'unknown'})"]
    for accelerator in device.accelerators:
        if accelerator.vendor in ("Intel", "AMD") and accelerator.shared_memory:
            reasons.append(
                f"{accelerator.name or 'the integrated GPU'} reads the same memory as the processor, so it would not "
                "write faster; --backend vulkan may read prompts faster"
            )
        elif accelerator.backend in ("opencl", "hexagon"):
            reasons.append(
                f"{accelerator.name or 'the GPU of the phone'} is used by llama.cpp's {accelerator.backend} backend, "
                "which is cross-compiled with the vendor's tools; here the processor does the work"
            )
    if tools.system == "android":
        reasons.append("Termux: 'pkg install python-numpy' first saves compiling numpy")
    return _Options(cmake_args=[], reasons=reasons)


def _metal(device: Device, tools: Toolchain) -> _Options:
    missing = [] if tools.system == "darwin" else [Missing("macOS", "Metal exists on Apple's systems only")]
    return _Options(
        cmake_args=["-DGGML_METAL=ON"],
        reasons=["Metal runs on the GPU of every Apple chip, in the same memory"],
        missing=missing,
    )


def _vulkan(device: Device, tools: Toolchain) -> _Options:
    options = _Options(
        cmake_args=["-DGGML_VULKAN=ON"],
        reasons=["Vulkan runs on the GPUs of every vendor and needs only their graphics driver"],
    )
    if not tools.vulkan:
        options.missing = [Missing("the Vulkan headers, SPIR-V headers and glslc", tools.install("vulkan"))]
    return options


def _cuda(device: Device, tools: Toolchain) -> _Options:
    cards = [a for a in device.accelerators if a.vendor == "NVIDIA"]
    capabilities = sorted({c for a in cards if (c := _numbers(a.compute_capability)) is not None})
    if capabilities:
        targets = ";".join(f"{major}{minor}" for major, minor in capabilities)
        reasons = [f"CUDA for {', '.join(sorted({a.name or 'the card' for a in cards}))} (sm_{targets})"]
    else:
        targets = "all-major"
        reasons = [
            "no NVIDIA GPU answers here: compiled for every generation, which takes several times longer"
        ]
    options = _Options(
        cmake_args=["-DGGML_CUDA=ON", f"-DCMAKE_CUDA_ARCHITECTURES={targets}"], reasons=reasons
    )
    if tools.nvcc is None or tools.cuda is None:
        options.missing = [Missing("the CUDA toolkit (nvcc)", tools.install("cuda"))]
        return options
    options.environment = {"CUDACXX": tools.nvcc}
    toolkit = f"CUDA {_dotted(tools.cuda)}"
    release = _cuda_release(tools.cuda)
    if release is None:
        options.missing = [Missing(f"a newer CUDA toolkit than {_dotted(tools.cuda)}", tools.install("cuda"))]
        return options
    if capabilities:
        options.missing = _cuda_generations(capabilities, release, toolkit)
    driver = _driver(cards)
    if driver is not None and driver < release.driver:
        options.missing.append(
            Missing(
                f"driver {release.driver} or newer for {toolkit} (driver {driver} is here)",
                "update the NVIDIA driver, or install an older CUDA toolkit",
            )
        )
    if tools.compiler and tools.compiler.family == "gcc" and tools.compiler.major > release.gcc:
        usable = [n for n in tools.host_gccs if n <= release.gcc]
        if usable:
            options.environment["CUDAHOSTCXX"] = f"g++-{usable[-1]}"
            options.reasons.append(f"g++-{usable[-1]} beside nvcc: {toolkit} takes gcc up to {release.gcc}")
        else:
            options.missing.append(
                Missing(
                    f"gcc {release.gcc} or older for {toolkit} (gcc {tools.compiler.major} is here)",
                    f"install g++-{release.gcc}, or a newer CUDA toolkit",
                )
            )
    return options


def _cuda_generations(
    capabilities: list[tuple[int, int]], release: CudaRelease, toolkit: str
) -> list[Missing]:
    """What keeps a toolkit from compiling for the oldest or the newest of the cards."""
    oldest, newest = capabilities[0], capabilities[-1]
    if newest > release.newest:
        since = next((r.release for r in CUDA_RELEASES if r.newest >= newest), None)
        wanted = f"CUDA {_dotted(since)} or newer" if since else "a newer CUDA toolkit"
        return [
            Missing(
                f"{wanted}: {toolkit} does not know compute capability {_dotted(newest)}",
                "https://developer.nvidia.com/cuda-downloads",
            )
        ]
    if oldest < release.oldest:
        until = next((r.release for r in reversed(CUDA_RELEASES) if r.oldest <= oldest), None)
        wanted = f"CUDA {_dotted(until)}" if until else "an older CUDA toolkit"
        return [
            Missing(
                f"{wanted}: {toolkit} has given up compute capability {_dotted(oldest)}",
                "https://developer.nvidia.com/cuda-toolkit-archive",
            )
        ]
    return []


def _hip(device: Device, tools: Toolchain) -> _Options:
    cards = [a for a in device.accelerators if a.vendor == "AMD" and a.compute_capability]
    targets = sorted({a.compute_capability or "" for a in cards})
    options = _Options(cmake_args=["-DGGML_HIP=ON"], reasons=[])
    if targets:
        options.cmake_args.append(f"-DGPU_TARGETS={';'.join(targets)}")
        options.reasons.append(f"ROCm for {', '.join(sorted({a.name or 'the card' for a in cards}))}")
    if tools.rocm is None or tools.hip_clang is None:
        options.missing = [Missing("ROCm with its HIP compiler", tools.install("hip"))]
    else:
        options.environment = {"HIPCXX": tools.hip_clang}
        if tools.hip_path:
            options.environment["HIP_PATH"] = tools.hip_path
        if tools.rocm < ROCM_SINCE:
            options.missing = [
                Missing(
                    f"ROCm {_dotted(ROCM_SINCE)} or newer ({_dotted(tools.rocm)} is here)",
                    tools.install("hip"),
                )
            ]
    unsupported = [target for target in targets if target not in ROCM_TARGETS]
    if unsupported:
        options.missing.append(
            Missing(
                f"a GPU that ROCm's libraries are built for: {', '.join(unsupported)} is not",
                "slm-advisor engine install --backend vulkan",
            )
        )
    return options


def _sycl(device: Device, tools: Toolchain) -> _Options:
    options = _Options(
        cmake_args=["-DGGML_SYCL=ON", "-DCMAKE_C_COMPILER=icx", "-DCMAKE_CXX_COMPILER=icpx"],
        reasons=["SYCL is Intel's own way to its GPUs"],
    )
    if not tools.oneapi_installed:
        options.missing = [Missing("Intel's oneAPI compiler (icpx)", tools.install("sycl"))]
    elif not tools.oneapi_active:
        options.missing = [Missing("oneAPI's environment", "source /opt/intel/oneapi/setvars.sh")]
    return options


# --- helpers ------------------------------------------------------------------------------------------------


def _numbers(capability: str | None) -> tuple[int, int] | None:
    major, _, minor = (capability or "").partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _cuda_release(version: tuple[int, int]) -> CudaRelease | None:
    return next((r for r in reversed(CUDA_RELEASES) if r.release <= version), None)


def _driver(cards: list[Accelerator]) -> int | None:
    major = (cards[0].driver or "").partition(".")[0] if cards else ""
    return int(major) if major.isdigit() else None
