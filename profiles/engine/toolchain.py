"""What there is on this machine to build the engine with, and the Python it would be installed into."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from pathlib import Path

import msgspec

from profiles.machine import Machine

_NVCC_PLACES = ("/usr/local/cuda/bin", "/opt/cuda/bin", "/usr/lib/nvidia-cuda-toolkit/bin")
_HIP_PLACES = ("/opt/rocm/bin",)
_INCLUDE_PLACES = ("/usr/include", "/usr/local/include", "/opt/homebrew/include")
_PACKAGE_MANAGERS = ("apt-get", "dnf", "pacman", "zypper", "apk")
_HOST_GCC = range(9, 17)


class Python(msgspec.Struct, frozen=True, kw_only=True):
    """The interpreter this program runs in: the engine must go where it looks for modules."""

    executable: str
    pip: tuple[str, ...] | None  # the command that works as its pip; None where there is none
    bits: int = 64
    machine: str | None = None  # "x86_64", "arm64": what it was compiled for, not what the processor is
    platform: str = "linux"  # sys.platform
    externally_managed: bool = False  # PEP 668: the system's package manager owns it


class Compiler(msgspec.Struct, frozen=True, kw_only=True):
    family: str  # "gcc", "clang", "apple-clang"
    major: int


class Toolchain(msgspec.Struct, frozen=True, kw_only=True):
    """Tools by what they are for; None or False where they were not found."""

    python: Python
    system: str = "linux"
    compiler: Compiler | None = None
    package_manager: str | None = None
    cmake_and_ninja: bool = True  # False: pip fetches them, where they exist as wheels
    musl: bool = False
    nvcc: str | None = None
    cuda: tuple[int, int] | None = None
    host_gccs: tuple[int, ...] = ()  # versions that can be called by name, as g++-13
    hip_clang: str | None = None
    hip_path: str | None = None
    rocm: tuple[int, int] | None = None
    vulkan: bool = False  # glslc, the loader's headers and SPIR-V's
    oneapi_installed: bool = False
    oneapi_active: bool = False  # its compilers are on the path and its environment is set
    cmake_args: str = ""  # of the user, from the environment
    jobs: int | None = None  # likewise

    def install(self, what: str) -> str:
        """The command, or the advice, that gets `what`: "compiler", "cuda", "hip", "vulkan", "sycl"."""
        from profiles.engine.build_facts import DOWNLOADS, PACKAGES

        return PACKAGES.get(self.package_manager or "", {}).get(what, DOWNLOADS[what])


def find_toolchain(machine: Machine | None = None) -> Toolchain:
    """Look for the tools on this machine. Starts a few programs for their versions (about 0.1 s)."""
    machine = machine or Machine()
    nvcc = _find("nvcc", (*_from_environment("CUDA_HOME", "CUDA_PATH"), *_NVCC_PLACES))
    hipconfig = _find("hipconfig", (*_from_environment("ROCM_PATH", "HIP_PATH"), *_HIP_PLACES))
    hip_clang = None if hipconfig is None else (machine.run(hipconfig, "-l") or "").strip()
    oneapi_active = bool(shutil.which("icpx") and os.environ.get("ONEAPI_ROOT"))
    return Toolchain(
        python=find_python(),
        system=machine.system,
        compiler=_compiler(machine),
        package_manager=_package_manager(machine.system),
        cmake_and_ninja=bool(shutil.which("cmake") and (shutil.which("ninja") or shutil.which("make"))),
        musl="musl" in platform.libc_ver()[0] or any(Path("/lib").glob("ld-musl-*")),
        nvcc=nvcc,
        cuda=_version(machine.run(nvcc, "--version"), r"release (\d+)\.(\d+)") if nvcc else None,
        host_gccs=tuple(n for n in _HOST_GCC if shutil.which(f"g++-{n}")),
        hip_clang=f"{hip_clang}/clang" if hip_clang else None,
        hip_path=(machine.run(hipconfig, "-R") or "").strip() or None if hipconfig else None,
        rocm=_version(machine.run(hipconfig, "--version"), r"(\d+)\.(\d+)") if hipconfig else None,
        vulkan=_vulkan(),
        oneapi_installed=oneapi_active or Path("/opt/intel/oneapi/setvars.sh").exists(),
        oneapi_active=oneapi_active,
        cmake_args=os.environ.get("CMAKE_ARGS", ""),
        jobs=int(jobs) if (jobs := os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "")).isdigit() else None,
    )


def find_python() -> Python:
    """The running interpreter, and how to install into it."""
    import struct
    import sysconfig

    # https://packaging.python.org/en/latest/specifications/externally-managed-environments/
    in_environment = sys.prefix != sys.base_prefix
    marker = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    return Python(
        executable=sys.executable,
        pip=_pip(),
        bits=8 * struct.calcsize("P"),
        machine=platform.machine() or None,
        platform=sys.platform,
        externally_managed=not in_environment and marker.exists(),
    )


def _pip() -> tuple[str, ...] | None:
    """pip for the running interpreter.

    It is a module in most environments, in those of pipx too. Those of uv have none, but uv can run one.
    """
    from importlib.util import find_spec

    if find_spec("pip") is not None:
        return (sys.executable, "-m", "pip")
    uv = shutil.which("uv")
    if uv is not None:
        return (uv, "tool", "run", "pip", "--python", sys.executable)
    return None


def _find(name: str, places: tuple[str, ...]) -> str | None:
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(places))


def _from_environment(*names: str) -> tuple[str, ...]:
    return tuple(f"{os.environ[name]}/bin" for name in names if os.environ.get(name))


def _compiler(machine: Machine) -> Compiler | None:
    """The C++ compiler that CMake would take: CXX, else c++ and its usual names."""
    for name in filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++")):
        said = machine.run(name, "--version")
        if said is None:
            continue
        version = _version(said, r"(\d+)\.(\d+)")
        if version is None:
            continue
        family = "apple-clang" if "Apple clang" in said else "clang" if "clang" in said else "gcc"
        return Compiler(family=family, major=version[0])
    return None


def _package_manager(system: str) -> str | None:
    if system == "darwin":
        return "xcode-select"
    if system == "android":
        return "pkg"
    return next((name for name in _PACKAGE_MANAGERS if shutil.which(name)), None)


def _vulkan() -> bool:
    places = [*_INCLUDE_PLACES]
    for name in ("VULKAN_SDK", "PREFIX"):  # the second is Termux's
        if os.environ.get(name):
            places.append(f"{os.environ[name]}/include")
    headers = ("vulkan/vulkan.h", "spirv/unified1/spirv.hpp")
    found = all(any(Path(place, header).exists() for place in places) for header in headers)
    return found and shutil.which("glslc") is not None


def _version(text: str | None, pattern: str) -> tuple[int, int] | None:
    found = re.search(pattern, text or "")
    return (int(found[1]), int(found[2])) if found else None
