"""What is known about building llama.cpp: kernel features, toolkits, compilers, packages, effort. Tables only.

Sources: ggml's CMake files and `ggml_backend_*_get_features` as of llama-cpp-python 0.3.36; NVIDIA's CUDA
installation guides and release notes (drivers, host compilers, supported compute capabilities); AMD's ROCm
compatibility matrix; the release notes of GCC and LLVM; the package indexes of the distributions.
"""

from __future__ import annotations

import msgspec

# Device.cpu.isa -> the engine's word for having been compiled with it. What is not here (sse4_2, amx_tile, sve2,
# sme without KleidiAI) has no kernel of its own, or the engine does not report it.
FEATURES = {
    "sse3": "SSE3",
    "ssse3": "SSSE3",
    "avx": "AVX",
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "bmi2": "BMI2",
    "avx_vnni": "AVX_VNNI",
    "avx512f": "AVX512",
    "avx512_vbmi": "AVX512_VBMI",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
    "amx_int8": "AMX_INT8",
    "neon": "NEON",
    "dotprod": "DOTPROD",
    "fp16": "FP16_VA",
    "i8mm": "MATMUL_INT8",
    "sve": "SVE",
    "rvv": "RISCV_V",
}

# The engine's word -> the first major version of a compiler that can emit it (GCC and LLVM release notes).
COMPILER_SINCE: dict[str, dict[str, int]] = {
    "gcc": {
        "AVX512_VNNI": 8,
        "AVX512_BF16": 10,
        "AVX_VNNI": 11,
        "AMX_INT8": 11,
        "DOTPROD": 8,
        "SVE": 8,
        "MATMUL_INT8": 10,
    },
    "clang": {"AVX512_VNNI": 6, "AVX512_BF16": 9, "AVX_VNNI": 12, "AMX_INT8": 11, "MATMUL_INT8": 11},
}

# Name of a backend's registry in the engine -> our name of the backend
REGISTRIES = {
    "CUDA": "cuda",
    "ROCm": "hip",
    "MTL": "metal",
    "Vulkan": "vulkan",
    "SYCL": "sycl",
    "OpenCL": "opencl",
    "HTP": "hexagon",
    "CPU": "cpu",
}


class CudaRelease(msgspec.Struct, frozen=True):
    """From a toolkit release on: the newest compute capability, the oldest, driver and newest host GCC."""

    release: tuple[int, int]
    newest: tuple[int, int]
    oldest: tuple[int, int]
    driver: int  # first driver branch on Linux that runs it
    gcc: int


CUDA_RELEASES = (
    CudaRelease((11, 4), (8, 7), (3, 5), 450, 11),
    CudaRelease((11, 8), (9, 0), (3, 5), 450, 11),
    CudaRelease((12, 0), (9, 0), (5, 0), 525, 12),
    CudaRelease((12, 4), (9, 0), (5, 0), 525, 13),
    CudaRelease((12, 8), (12, 0), (5, 0), 525, 14),
    CudaRelease((12, 9), (12, 1), (5, 0), 525, 14),
    CudaRelease((13, 0), (12, 1), (7, 5), 580, 15),
)

# Architectures that ROCm's BLAS libraries are built for; others crash there, and Vulkan runs on them.
ROCM_TARGETS = frozenset(
    {
        "gfx908",
        "gfx90a",
        "gfx942",
        "gfx950",
        "gfx1030",
        "gfx1100",
        "gfx1101",
        "gfx1102",
        "gfx1150",
        "gfx1151",
        "gfx1200",
        "gfx1201",
    }
)
ROCM_SINCE = (6, 1)  # llama.cpp refuses older ones

# Package manager -> what to install for a C++ compiler, and for Vulkan
PACKAGES: dict[str, dict[str, str]] = {
    "apt-get": {
        "compiler": "sudo apt-get install build-essential",
        "vulkan": "sudo apt-get install libvulkan-dev glslc spirv-headers",
    },
    "dnf": {
        "compiler": "sudo dnf install gcc gcc-c++",
        "vulkan": "sudo dnf install vulkan-loader-devel vulkan-headers glslc spirv-headers-devel",
    },
    "pacman": {
        "compiler": "sudo pacman -S base-devel",
        "vulkan": "sudo pacman -S vulkan-headers vulkan-icd-loader shaderc spirv-headers",
        "cuda": "sudo pacman -S cuda",
        "hip": "sudo pacman -S rocm-hip-sdk",
    },
    "zypper": {
        "compiler": "sudo zypper install gcc gcc-c++",
        "vulkan": "sudo zypper install vulkan-devel shaderc spirv-headers",
    },
    "apk": {
        "compiler": "sudo apk add build-base linux-headers cmake samurai",
        "vulkan": "sudo apk add vulkan-loader-dev vulkan-headers shaderc spirv-headers",
    },
    "xcode-select": {"compiler": "xcode-select --install"},
    "pkg": {
        "compiler": "pkg install clang cmake ninja",
        "vulkan": "pkg install vulkan-headers vulkan-loader-generic shaderc spirv-headers",
    },
}
# Where no package manager has it, or has one too old
DOWNLOADS = {
    "compiler": "install a C++17 compiler (gcc 9 or newer, or clang 11 or newer)",
    "cuda": "install the CUDA toolkit from https://developer.nvidia.com/cuda-downloads",
    "hip": "install ROCm from https://rocm.docs.amd.com (packages of the HIP SDK)",
    "vulkan": "install the Vulkan SDK from https://vulkan.lunarg.com",
    "sycl": "install the oneAPI Base Toolkit from https://www.intel.com/oneapi",
}


class Effort(msgspec.Struct, frozen=True):
    """What a build takes: processor minutes of a fast desktop core, memory of one job, disk while it runs.

    The CPU build was measured: 6.4 processor minutes (Zen 5 at 2 jobs, gcc 12), 0.5 GB. The others are experience
    values, hence the wide range that is shown.
    """

    core_minutes: tuple[float, float]
    job_bytes: int
    disk_bytes: int


_GB = 10**9
EFFORT = {
    "cpu": Effort((5, 8), _GB, _GB),
    "metal": Effort((4, 8), _GB, _GB),
    "cuda": Effort((30, 90), 5 * _GB // 2, 4 * _GB),
    "hip": Effort((40, 120), 5 * _GB // 2, 4 * _GB),
    "vulkan": Effort((10, 25), 3 * _GB // 2, 2 * _GB),
    "sycl": Effort((30, 90), 3 * _GB, 4 * _GB),
}
# How many times slower than that core a core of such a device compiles
SLOWNESS = {"sbc": 4.0, "jetson": 4.0, "phone": 2.5, "tablet": 2.5, "laptop": 1.3, "server-cpu": 1.2}
