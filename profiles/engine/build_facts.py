"""What is known about building llama.cpp: kernel features, toolkits, compilers, packages, effort. Tables only.

Above each table stands what it was checked against, on 2026-11-23, or "general knowledge, unverified". "llama.cpp"
is the source in llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import msgspec

# Device.cpu.isa -> the engine's word for having been compiled with it. What is not here (sse4_2, amx_tile, sve2, sme
# without KleidiAI) has no kernel of its own, or the engine does not report it; amx_int8 is not wanted (build.py).
# Source: llama.cpp, ggml_backend_cpu_get_features.
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
    "neon": "NEON",
    "dotprod": "DOTPROD",
    "fp16": "FP16_VA",
    "i8mm": "MATMUL_INT8",
    "sve": "SVE",
    "rvv": "RISCV_V",
}

# The engine's word -> the first major version of a compiler that can emit it, where that is newer than the oldest
# compiler that builds llama.cpp. Source: clang's AVX_VNNI, the commit with its release note (llvm-project 756f597);
# the others general knowledge, unverified.
COMPILER_SINCE: dict[str, dict[str, int]] = {
    "gcc": {"AVX512_BF16": 10, "MATMUL_INT8": 10, "AVX_VNNI": 11},
    "clang": {"AVX_VNNI": 12},
}

# Name of a backend's registry in the engine -> our name of the backend. Source: llama.cpp, ggml_backend_*_reg_get_name.
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
    """From a toolkit release on: the oldest compute capability, the driver and the newest host GCC."""

    release: tuple[int, int]
    oldest: tuple[int, int]
    driver: int  # first driver branch on Linux that runs it
    gcc: int


# Releases before the first are not planned with.
# Sources: capabilities, CMake's CMakeCUDAArchitecturesAll.cmake (3.5 until 12.0) and spack's build_systems/cuda.py
# (before 7.5 until 13.0); drivers, NVIDIA's "CUDA Compatibility", table of minor version compatibility; host
# compilers, spack's cuda.py, which follows NVIDIA's installation guides up to 13.2.
CUDA_RELEASES = (
    CudaRelease((11, 4), (3, 5), 450, 11),
    CudaRelease((12, 0), (5, 0), 525, 12),
    CudaRelease((12, 4), (5, 0), 525, 13),
    CudaRelease((12, 8), (5, 0), 525, 14),
    CudaRelease((13, 0), (7, 5), 580, 15),
)
# Compute capability -> the first toolkit that compiles for it, where that is newer than the first above. Of a newer
# capability nothing is said.
# Sources: CMake's CMakeCUDAArchitecturesAll.cmake; 11.0 (called 10.1 before), spack's cuda.py.
CAPABILITY_SINCE = {
    (8, 9): (11, 8),
    (9, 0): (11, 8),
    (10, 0): (12, 8),
    (10, 3): (12, 9),
    (11, 0): (13, 0),
    (12, 0): (12, 8),
    (12, 1): (12, 9),
}
# What a build for every card is compiled for: first toolkit, first toolkit without, CMAKE_CUDA_ARCHITECTURES.
# Not CMake's all-major: its plain 120 lacks instructions that the kernels use. Source: llama.cpp, ggml-cuda.
CUDA_GENERATIONS: tuple[tuple[tuple[int, int], tuple[int, int] | None, tuple[str, ...]], ...] = (
    ((11, 4), (13, 0), ("50-virtual", "61-virtual", "70-virtual")),
    ((11, 4), None, ("75-virtual", "80-virtual", "86-real")),
    ((11, 8), None, ("89-real", "90-virtual")),
    ((12, 8), None, ("120a-real",)),
    ((12, 9), None, ("121a-real",)),
)

# Architectures that ROCm's BLAS library is built for -> since which release (6.0: or before); others crash there,
# and Vulkan runs on them. Older cards (gfx900, gfx906, gfx101x) and gfx1103 are in its list too and left out on
# purpose: AMD's packages do not all have them (general knowledge, unverified).
# Source: rocBLAS' CMakeLists.txt, TARGET_LIST_ROCM_*.
ROCM_TARGETS = {
    "gfx908": (6, 0),
    "gfx90a": (6, 0),
    "gfx942": (6, 0),
    "gfx950": (7, 0),
    "gfx1030": (6, 0),
    "gfx1100": (6, 0),
    "gfx1101": (6, 0),
    "gfx1102": (6, 0),
    "gfx1150": (7, 0),
    "gfx1151": (6, 3),
    "gfx1200": (6, 3),
    "gfx1201": (6, 3),
}
ROCM_SINCE = (6, 1)  # llama.cpp refuses older ones. Source: llama.cpp, ggml-hip

# Package manager -> what to install for a C++ compiler, and for a backend.
# Sources: Vulkan for apt-get, llama.cpp's docs/build.md and Debian's index; for dnf (spirv-headers-devel), the same
# page; for pkg, Termux' repository of packages, and libandroid-spawn, llama.cpp's docs/android.md. The others general
# knowledge, unverified.
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
        "compiler": "pkg install clang cmake ninja libandroid-spawn",
        "vulkan": "pkg install vulkan-headers vulkan-loader-generic shaderc spirv-headers",
    },
}
# Where no package manager has it, or has one too old. Sources: C++17 and the downloads of CUDA, ROCm and Vulkan,
# llama.cpp's CMakeLists.txt and docs/build.md; the compilers' versions general knowledge, unverified.
DOWNLOADS = {
    "compiler": "install a C++17 compiler (gcc 9 or newer, or clang 11 or newer)",
    "cuda": "install the CUDA toolkit from https://developer.nvidia.com/cuda-downloads",
    "hip": "install ROCm from https://rocm.docs.amd.com (packages of the HIP SDK)",
    "vulkan": "install the Vulkan SDK from https://vulkan.lunarg.com",
    "sycl": "install the oneAPI Base Toolkit from https://www.intel.com/oneapi",
}


class Effort(msgspec.Struct, frozen=True):
    """What a build takes: processor minutes of a fast desktop core, memory of one job, disk while it runs.

    The CPU build was measured: 6.4 processor minutes (Zen 5 at 2 jobs, gcc 12), 0.5 GB. The others are general
    knowledge, unverified, hence the wide range that is shown.
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
# How many times slower than that core a core of such a device compiles: general knowledge, unverified
SLOWNESS = {"sbc": 4.0, "jetson": 4.0, "phone": 2.5, "tablet": 2.5, "laptop": 1.3, "server-cpu": 1.2}
