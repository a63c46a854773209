"""What the speed fits assume before they see a measurement, and how finely they tell things apart.

Priors come from instruction counts of ggml's kernels, from data sheets and from posts about devices that
measurements.csv does not have; each is loose (see the deviations in speed_fits.py) and stays only where data is
missing. Phones: llama.cpp pull requests 18871, 19840 and 22755 (OpenCL on Snapdragon X and 8 Elite), issues 23816
and 27677 (Hexagon on Snapdragon 8 Gen 3 and 8 Elite Gen 5).
"""

from __future__ import annotations

# Tensor types whose kernels are alike share what one of them was measured at.
KIND_OF_TYPE = {
    "F16": "float",
    "BF16": "float",
    "F32": "float",
    "F64": "float",
    "Q8_0": "Q8",
    "Q8_1": "Q8",
    "Q8_K": "Q8",
    "Q4_0": "Q4_0",
    "Q4_1": "Q4_0",
    "IQ4_NL": "IQ4",
    "IQ4_XS": "IQ4",
    "MXFP4": "MXFP4",
    "NVFP4": "MXFP4",
    "Q5_0": "Q5_0",
    "Q5_1": "Q5_0",
    "Q4_K": "Q4_K",
    "Q5_K": "Q5_K",
    "Q6_K": "Q6_K",
    "Q3_K": "Q3_K",
    "Q2_K": "Q2_K",
    "IQ3_S": "IQ3",
    "IQ3_XXS": "IQ3",
    "IQ2_S": "IQ2",
    "IQ2_XS": "IQ2",
    "IQ2_XXS": "IQ2",
    "TQ1_0": "IQ2",
    "TQ2_0": "IQ2",
    "Q1_0": "IQ2",
    "Q2_0": "IQ2",
    "IQ1_S": "IQ1",
    "IQ1_M": "IQ1",
}
KINDS = tuple(sorted(set(KIND_OF_TYPE.values())))

ACCELERATORS = ("cuda", "rocm", "vulkan", "metal", "sycl", "opencl", "hexagon")
# Backends that leave the types they have no kernels for to the CPU (llama.cpp docs/backend), and the kinds they have.
NATIVE_KINDS = {
    "opencl": frozenset({"float", "Q8", "Q4_0", "IQ4", "MXFP4", "Q4_K", "Q5_K", "Q6_K"}),
    "hexagon": frozenset({"float", "Q8", "Q4_0", "IQ4", "MXFP4"}),
}

KERNELS = ("x86", "sse", "i8mm", "dotprod", "neon", "scalar")
CPU_CLASSES = ("phone", "tablet", "sbc", "laptop", "desktop-cpu", "server-cpu", "apple", "jetson")

# Time of a layer's small operations, in units of an attention layer's.
LAYER_COSTS = {
    "deltanet": 2.0,
    "mamba2": 2.0,
    "shortconv": 0.7,
    "parallel": 2.5,
    "ffn": 0.5,
    "experts": 0.7,
}

# SIMD operations per weight on a CPU, for one token and for each token of a prompt.
CPU_DECODE = {
    "float": 0.4,
    "Q8": 0.35,
    "Q4_0": 0.3,
    "IQ4": 0.4,
    "MXFP4": 0.5,
    "Q5_0": 0.5,
    "Q4_K": 0.35,
    "Q5_K": 0.45,
    "Q6_K": 0.5,
    "Q3_K": 0.6,
    "Q2_K": 0.5,
    "IQ3": 1.0,
    "IQ2": 1.0,
    "IQ1": 1.0,
}
CPU_PROMPT = {
    "float": 0.3,
    "Q8": 0.15,
    "Q4_0": 0.12,
    "IQ4": 0.25,
    "MXFP4": 0.3,
    "Q5_0": 0.3,
    "Q4_K": 0.2,
    "Q5_K": 0.25,
    "Q6_K": 0.25,
    "Q3_K": 0.3,
    "Q2_K": 0.25,
    "IQ3": 0.7,
    "IQ2": 0.7,
    "IQ1": 0.7,
}
# The same, by kernels: without AVX2, without the dot product, without SIMD.
KERNEL_COSTS = {"x86": 1.0, "sse": 5.0, "i8mm": 1.0, "dotprod": 1.0, "neon": 2.0, "scalar": 2.7}

# Operations of a prompt per FP32 shader operation, by backend and in units of it by generation (matrix units).
PROMPT_RATES = {
    "cuda": 1.2,
    "rocm": 1.0,
    "vulkan": 0.9,
    "metal": 0.65,
    "sycl": 1.5,
    "opencl": 0.5,
    "hexagon": 0.1,
}
PROMPT_GENERATIONS = {
    "kepler": 0.4,
    "maxwell": 0.5,
    "tegra": 0.6,
    "volta": 1.8,
    "turing-gtx": 0.5,
    "turing": 2.4,
    "ampere-hbm": 3.0,
    "ampere": 1.4,
    "ada": 1.3,
    "hopper": 2.2,
    "blackwell": 1.5,
    "gcn": 0.6,
    "rdna4": 1.2,
    "mali": 0.3,
}

# Share of the usual efficiency of a generation that no measurement covers: on Mali, llama.cpp's Vulkan kernels are
# reported slower than the CPU beside it.
GENERATION_EFFICIENCY = {"mali": 0.5}

# Of one maker's cards: what share of the usual efficiency, and how a small board as host slows them.
VENDOR_EFFICIENCY = {"nvidia": 1.0, "amd": 1.0, "intel": 0.8, "unified": 1.0}
SLOW_HOST = {"nvidia": 1.2, "amd": 2.5, "intel": 2.5, "unified": 1.0}


def vendor_of(generation: str | None) -> str:
    """Whose cards a generation belongs to; one that nobody measured is taken to be like its maker's others."""
    if generation in ("xe-igpu", "alchemist", "battlemage"):
        return "intel"
    if generation is not None and generation.startswith(("rdna", "gcn", "vega", "cdna")):
        return "amd"
    if generation in ("apple", "apple-ultra", "apple-phone", "adreno", "mali", "hexagon"):
        return "unified"
    return "nvidia"


def decode_kernels(kernels: str | None) -> str:
    """i8mm multiplies matrices with matrices: a single token runs the kernels for the dot product."""
    return "dotprod" if kernels is None or kernels == "i8mm" else kernels
