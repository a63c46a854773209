"""What each backend of llama.cpp adds to a build: CMake options, environment, and what must be there first.

The options were checked on 2026-11-23 against docs/build.md, docs/backend/SYCL.md and the CMake files of llama.cpp as
in llama-cpp-python 0.3.36. What is said of a backend's speed on shared memory is general knowledge, unverified.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from profiles.device import Accelerator, Device
from profiles.engine.build_facts import (
    CAPABILITY_SINCE,
    CUDA_GENERATIONS,
    CUDA_RELEASES,
    ROCM_SINCE,
    ROCM_TARGETS,
    CudaRelease,
)
from profiles.engine.toolchain import Toolchain

BuildBackend = Literal["cpu", "cuda", "metal", "vulkan", "hip", "sycl"]


class Missing(msgspec.Struct, frozen=True):
    """Something a build needs first."""

    what: str
    install: str  # a command or an advice


class Options(msgspec.Struct):
    """What one backend adds to a plan; `times` is the effort against a usual build with it."""

    cmake_args: list[str]
    reasons: list[str]
    environment: dict[str, str] = {}
    missing: list[Missing] = []
    times: float = 1.0


def _cpu(device: Device, tools: Toolchain) -> Options:
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
    return Options(cmake_args=[], reasons=reasons)


def _metal(device: Device, tools: Toolchain) -> Options:
    missing = [] if tools.system == "darwin" else [Missing("macOS", "Metal exists on Apple's systems only")]
    return Options(
        cmake_args=["-DGGML_METAL=ON"],
        reasons=["Metal runs on the GPU of every Apple chip, in the same memory"],
        missing=missing,
    )


def _vulkan(device: Device, tools: Toolchain) -> Options:
    options = Options(
        cmake_args=["-DGGML_VULKAN=ON"],
        reasons=["Vulkan runs on the GPUs of every vendor and needs only their graphics driver"],
    )
    if not tools.vulkan:
        options.missing = [Missing("the Vulkan headers, SPIR-V headers and glslc", tools.install("vulkan"))]
    return options


def _cuda(device: Device, tools: Toolchain) -> Options:
    cards = [a for a in device.accelerators if a.vendor == "NVIDIA"]
    capabilities = sorted({c for a in cards if (c := _numbers(a.compute_capability)) is not None})
    if capabilities:
        targets = ";".join(f"{major}{minor}" for major, minor in capabilities)
        reasons = [f"CUDA for {', '.join(sorted({a.name or 'the card' for a in cards}))} (sm_{targets})"]
    else:
        targets = ";".join(_every_generation(tools.cuda))
        reasons = ["no NVIDIA GPU answers here: compiled for every generation"]
    options = Options(
        cmake_args=["-DGGML_CUDA=ON", f"-DCMAKE_CUDA_ARCHITECTURES={targets}"],
        reasons=reasons,
        times=1.0 if capabilities else 4.0,
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
        options.missing = _cuda_generations(capabilities, tools.cuda, release)
    driver = _driver(cards)
    if driver is not None and driver < release.driver and device.class_ != "jetson":  # JetPack brings both
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


def _every_generation(toolkit: tuple[int, int] | None) -> list[str]:
    """What to compile for where no card is there to ask; without a toolkit, as with the newest."""
    wanted = toolkit or CUDA_RELEASES[-1].release
    return [
        architecture
        for since, until, architectures in CUDA_GENERATIONS
        if since <= wanted and (until is None or wanted < until)
        for architecture in architectures
    ]


def _cuda_generations(
    capabilities: list[tuple[int, int]], toolkit: tuple[int, int], release: CudaRelease
) -> list[Missing]:
    """What keeps a toolkit from compiling for one of the cards."""
    newer = [c for c in capabilities if CAPABILITY_SINCE.get(c, toolkit) > toolkit]
    if newer:
        since = max(CAPABILITY_SINCE[c] for c in newer)
        return [
            Missing(
                f"CUDA {_dotted(since)} or newer: CUDA {_dotted(toolkit)} does not know compute capability "
                f"{_dotted(newer[-1])}",
                "https://developer.nvidia.com/cuda-downloads",
            )
        ]
    oldest = capabilities[0]
    if oldest < release.oldest:
        until = next(r.release for r in CUDA_RELEASES if r.oldest > oldest)
        return [
            Missing(
                f"CUDA before {_dotted(until)}: CUDA {_dotted(toolkit)} has given up compute capability "
                f"{_dotted(oldest)}",
                "https://developer.nvidia.com/cuda-toolkit-archive",
            )
        ]
    return []


def _hip(device: Device, tools: Toolchain) -> Options:
    cards = [a for a in device.accelerators if a.vendor == "AMD" and a.compute_capability]
    targets = sorted({a.compute_capability or "" for a in cards})
    options = Options(cmake_args=["-DGGML_HIP=ON"], reasons=[])
    if targets:
        options.cmake_args.append(f"-DGPU_TARGETS={';'.join(targets)}")
        options.reasons.append(f"ROCm for {', '.join(sorted({a.name or 'the card' for a in cards}))}")
    if tools.rocm is None or tools.hip_clang is None:
        options.missing = [Missing("ROCm with its HIP compiler", tools.install("hip"))]
    else:
        options.environment = {"HIPCXX": tools.hip_clang}
        if tools.hip_path:
            options.environment["HIP_PATH"] = tools.hip_path
        since = max((ROCM_SINCE, *(ROCM_TARGETS[target] for target in targets if target in ROCM_TARGETS)))
        if tools.rocm < since:
            options.missing = [
                Missing(
                    f"ROCm {_dotted(since)} or newer ({_dotted(tools.rocm)} is here)", tools.install("hip")
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


def _sycl(device: Device, tools: Toolchain) -> Options:
    options = Options(
        cmake_args=["-DGGML_SYCL=ON", "-DCMAKE_C_COMPILER=icx", "-DCMAKE_CXX_COMPILER=icpx"],
        reasons=["SYCL is Intel's own way to its GPUs"],
    )
    if not tools.oneapi_installed:
        options.missing = [Missing("Intel's oneAPI compiler (icpx)", tools.install("sycl"))]
    elif not tools.oneapi_active:
        options.missing = [Missing("oneAPI's environment", "source /opt/intel/oneapi/setvars.sh")]
    return options


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


BACKENDS: dict[BuildBackend, Callable[[Device, Toolchain], Options]] = {
    "cpu": _cpu,
    "cuda": _cuda,
    "metal": _metal,
    "vulkan": _vulkan,
    "hip": _hip,
    "sycl": _sycl,
}
