"""Graphics processors of phones and boards: Qualcomm's kgsl and Arm's mali drivers, where their files can be read."""

from __future__ import annotations

import re

from profiles.device import Accelerator, Backend
from profiles.ledger import Ledger
from profiles.machine import Machine

_ADRENO = "/sys/class/kgsl/kgsl-3d0/gpu_model"
_MALI = "/sys/class/misc/mali0/device/gpuinfo"


def probe_mobile(machine: Machine, ledger: Ledger) -> tuple[Accelerator, ...]:
    """The GPU of an Arm chip; most phones hide it from applications, and then the library fills it in by chip."""
    if machine.system not in ("linux", "android"):
        return ()
    backend: Backend
    model = machine.read(_ADRENO)
    if model:
        match = re.match(r"Adreno\s*(?:\(TM\)\s*)?(\d{3})", model, re.IGNORECASE)
        name, vendor, path = f"Adreno {match[1]}" if match else model, "Qualcomm", _ADRENO
        # llama.cpp's OpenCL backend has kernels for Adreno 700 and later.
        backend = "opencl" if match and int(match[1]) >= 700 else "vulkan"
    else:
        info = machine.read(_MALI)
        if not info:
            return ()
        cores = re.match(r"(\S+)\s+(\d+) cores", info)
        name = f"{cores[1]} MP{cores[2]}" if cores else info.splitlines()[0]
        vendor, backend, path = "Arm", "vulkan", _MALI
    ledger.note("0.memory_bytes", "shares the main memory: see memory.total_bytes")
    return (
        Accelerator(
            name=ledger.fact("0.name", name, path),
            vendor=ledger.fact("0.vendor", vendor, path),
            backend=ledger.fact("0.backend", backend, "llama.cpp's backend for this kind of GPU"),
            shared_memory=ledger.fact(
                "0.shared_memory", True, "GPUs of mobile chips have no memory of their own"
            ),
        ),
    )
