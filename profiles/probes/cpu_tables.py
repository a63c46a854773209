"""Tables that turn what a processor says about itself into names and ggml's kernel features.

Feature names: arch/x86/include/asm/cpufeatures.h and arch/arm64 hwcaps of the Linux kernel, Apple's
`hw.optional.arm` keys, the RISC-V ISA string. Part numbers: the MIDR register's values as in Arm's technical
reference manuals and the kernel's cputype.h. "Little" parts are the in-order efficiency cores of Arm's big.LITTLE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# /proc/cpuinfo flag (or macOS feature) -> our name, for what ggml's x86 kernels ask about
_X86 = {
    "pni": "sse3",
    "sse3": "sse3",
    "ssse3": "ssse3",
    "sse4_2": "sse4_2",
    "avx": "avx",
    "avx1_0": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "bmi2": "bmi2",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512vbmi": "avx512_vbmi",
    "avx512_vbmi": "avx512_vbmi",
    "avx512_vnni": "avx512_vnni",
    "avx512vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_tile": "amx_tile",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
}
_ARM = {
    "asimd": "neon",
    "neon": "neon",
    "asimddp": "dotprod",
    "asimdhp": "fp16",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
}
APPLE_FEATURES = {
    "hw.optional.neon": "neon",
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_FP16": "fp16",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
}
ARM_IMPLEMENTERS = {
    "0x41": "Arm",
    "0x48": "HiSilicon",
    "0x4e": "NVIDIA",
    "0x51": "Qualcomm",
    "0x53": "Samsung",
    "0x61": "Apple",
    "0xc0": "Ampere",
}
ARM_PARTS = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd0d"): "Cortex-A77",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd44"): "Cortex-X1",
    ("0x41", "0xd46"): "Cortex-A510",
    ("0x41", "0xd47"): "Cortex-A710",
    ("0x41", "0xd48"): "Cortex-X2",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4b"): "Cortex-A78C",
    ("0x41", "0xd4d"): "Cortex-A715",
    ("0x41", "0xd4e"): "Cortex-X3",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd80"): "Cortex-A520",
    ("0x41", "0xd81"): "Cortex-A720",
    ("0x41", "0xd82"): "Cortex-X4",
    ("0x41", "0xd84"): "Neoverse-V3",
    ("0x41", "0xd85"): "Cortex-X925",
    ("0x41", "0xd87"): "Cortex-A725",
    ("0x41", "0xd8e"): "Neoverse-N3",
    ("0x51", "0x001"): "Oryon",
    ("0x51", "0x800"): "Kryo 2xx Gold",
    ("0x51", "0x801"): "Kryo 2xx Silver",
    ("0x51", "0x802"): "Kryo 3xx Gold",
    ("0x51", "0x803"): "Kryo 3xx Silver",
    ("0x51", "0x804"): "Kryo 4xx Gold",
    ("0x51", "0x805"): "Kryo 4xx Silver",
    ("0x4e", "0x004"): "Carmel",
    ("0xc0", "0xac3"): "Ampere-1",
}
LITTLE_PARTS = frozenset(
    {
        ("0x41", "0xd03"),
        ("0x41", "0xd04"),
        ("0x41", "0xd05"),
        ("0x41", "0xd46"),
        ("0x41", "0xd80"),
        ("0x51", "0x801"),
        ("0x51", "0x803"),
        ("0x51", "0x805"),
    }
)


def x86_features(flags: Iterable[str]) -> tuple[str, ...]:
    """ggml's x86 kernel features among the flags, in the table's order."""
    present = set(flags)
    return tuple(dict.fromkeys(name for flag, name in _X86.items() if flag in present))


def arm_features(flags: Iterable[str]) -> tuple[str, ...]:
    """ggml's ARM kernel features among the hwcaps, in the table's order."""
    present = set(flags)
    return tuple(dict.fromkeys(name for flag, name in _ARM.items() if flag in present))


def riscv_features(isa: str) -> tuple[str, ...]:
    """ "rvv" and the half-precision extensions in an ISA string like "rv64imafdcv_zfh_zvfh"."""
    base, *extensions = isa.lower().split("_")
    letters = re.sub(r"^rv\d+", "", base)
    found = ["rvv"] if "v" in letters else []
    return tuple(found + [name for name in ("zfh", "zvfh", "zvfbfwma") if name in extensions])
