"""NVIDIA cards through NVML (`nvidia-ml-py`, whose module is `pynvml`).

Theoretical bandwidth is bus width / 8 x memory clock x 2: NVML gives the clock of a double-data-rate bus whatever
the memory's kind is (an RTX 3090 says 9,751 MHz for its 19.5 Gbit/s pins, an H100 SXM 2,619 MHz for 5.2).

What NVML answers is kept apart from what we make of it, so that answers saved elsewhere take the same way.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import msgspec

from profiles.device import Accelerator
from profiles.ledger import Ledger
from profiles.machine import Machine

PCI_VENDOR = "0x10de"
TIME_LIMIT_S = 15.0  # without the persistence daemon, waking a card takes seconds
_DRIVER_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-gpu", "/dev/nvgpu")


class NvmlSlice(msgspec.Struct, frozen=True, kw_only=True):
    """One MIG instance: a share of a card with memory of its own."""

    name: str | None = None
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None


class NvmlCard(msgspec.Struct, frozen=True, kw_only=True):
    """What NVML said about one card; None where it refused or does not support the question."""

    name: str | None = None
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    bus_width_bits: int | None = None
    memory_clock_mhz: int | None = None
    power_limit_mw: int | None = None
    mig_enabled: bool | None = None
    slices: tuple[NvmlSlice, ...] = ()
    refusals: dict[str, str] = {}  # field -> NVML's words


class NvmlAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Everything NVML said; `failure` says why there are no cards."""

    driver: str | None = None
    cards: tuple[NvmlCard, ...] = ()
    failure: str | None = None
    lost: str | None = None  # a card that does not answer while others do


def probe_nvidia(machine: Machine, ledger: Ledger) -> tuple[Accelerator, ...]:
    """The NVIDIA cards NVML shows; a card on the PCI bus without a working NVML becomes a note."""
    if machine.nvml is not None:
        answer = machine.nvml()
    elif machine.is_local and (machine.system != "linux" or any(map(machine.exists, _DRIVER_FILES))):
        if machine.system in ("darwin", "android"):
            return ()
        answer = ask_nvml_apart()
    else:
        answer = NvmlAnswer(failure="no NVIDIA driver is loaded")
    if answer.failure is not None:
        present = _on_pci_bus(machine)
        if present or any(map(machine.exists, _DRIVER_FILES)):
            where = f" ({present} on the PCI bus)" if present else ""
            ledger.note("", f"an NVIDIA GPU is there{where}, but NVML does not answer: {answer.failure}")
        return ()
    if answer.lost is not None:
        ledger.note("", f"a card is there and does not answer: {answer.lost}")
    found: list[Accelerator] = []
    for card in answer.cards:
        for part in card.slices if card.mig_enabled and card.slices else (None,):
            found.append(_accelerator(card, part, answer.driver, ledger, len(found)))
    return tuple(found)


def _accelerator(
    card: NvmlCard, part: NvmlSlice | None, driver: str | None, ledger: Ledger, i: int
) -> Accelerator:
    bandwidth = None
    if card.bus_width_bits and card.memory_clock_mhz:
        bandwidth = card.bus_width_bits / 8 * card.memory_clock_mhz * 2e6
    total, free, name = card.memory_total_bytes, card.memory_free_bytes, card.name
    source = "NVML bus width x memory clock x 2"
    if part is not None:
        if bandwidth and part.memory_total_bytes and card.memory_total_bytes:
            bandwidth *= min(1.0, part.memory_total_bytes / card.memory_total_bytes)
            source += ", by the MIG instance's share of the memory"
        total, free, name = part.memory_total_bytes, part.memory_free_bytes, part.name or card.name
        ledger.note(
            f"{i}", f"a MIG instance of {card.name}: it has a share of the card's memory and processors"
        )
    elif card.mig_enabled:
        ledger.note(f"{i}", "MIG is on, but no instance is visible to this process: the card may refuse work")
    for field, words in card.refusals.items():
        ledger.note(f"{i}.{_FIELDS.get(field, field)}", f"NVML: {words}")
    # Jetson and GB10 have one memory for both processors; NVML then refuses the memory question.
    shared = total is None and "memory_total_bytes" in card.refusals
    capability = ".".join(map(str, card.compute_capability)) if card.compute_capability else None
    fact = ledger.fact
    return Accelerator(
        name=fact(f"{i}.name", name, "NVML"),
        vendor=fact(f"{i}.vendor", "NVIDIA", "NVML"),
        backend=fact(f"{i}.backend", "cuda", "llama.cpp's backend for NVIDIA"),
        memory_bytes=fact(f"{i}.memory_bytes", total, "NVML"),
        memory_free_bytes=fact(f"{i}.memory_free_bytes", free, "NVML"),
        shared_memory=fact(
            f"{i}.shared_memory", shared, "NVML gives no memory of its own" if shared else "NVML"
        ),
        memory_bandwidth_bytes_per_s=fact(f"{i}.memory_bandwidth_bytes_per_s", bandwidth, source),
        compute_capability=fact(f"{i}.compute_capability", capability, "NVML"),
        power_limit_w=fact(
            f"{i}.power_limit_w", card.power_limit_mw / 1000 if card.power_limit_mw else None, "NVML"
        ),
        driver=fact(f"{i}.driver", driver, "NVML"),
    )


_FIELDS = {
    "memory_total_bytes": "memory_bytes",
    "bus_width_bits": "memory_bandwidth_bytes_per_s",
    "memory_clock_mhz": "memory_bandwidth_bytes_per_s",
    "power_limit_mw": "power_limit_w",
}


def _on_pci_bus(machine: Machine) -> str | None:
    """The PCI address of an NVIDIA display controller, or None."""
    for address in machine.list("/sys/bus/pci/devices"):
        folder = f"/sys/bus/pci/devices/{address}"
        if machine.read(f"{folder}/vendor") == PCI_VENDOR and (
            machine.read(f"{folder}/class") or ""
        ).startswith("0x03"):
            return address
    return None


def ask_nvml_apart(limit_s: float = TIME_LIMIT_S) -> NvmlAnswer:
    """`ask_nvml` in a child process: a driver that crashes or hangs in there costs a note and not the profile."""
    if not hasattr(os, "fork"):
        return ask_nvml()
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads; the child only asks and ends
        child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(msgspec.json.encode(ask_nvml()))
        finally:
            os._exit(0)
    os.close(writer)
    content = bytearray()
    ends = time.monotonic() + limit_s
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(0.0, ends - time.monotonic()))[0]:
            if not (piece := pipe.read(1 << 16)):
                break
            content += piece
        else:
            os.kill(child, signal.SIGKILL)
            for _ in range(20):  # not longer: a process that hangs in the kernel does not end
                if os.waitpid(child, os.WNOHANG)[0]:
                    break
                time.sleep(0.01)
            return NvmlAnswer(failure=f"no answer within {limit_s:g} s")
    _, status = os.waitpid(child, 0)
    try:
        return msgspec.json.decode(content, type=NvmlAnswer)
    except msgspec.DecodeError:
        return NvmlAnswer(failure=f"it crashed (exit status {os.waitstatus_to_exitcode(status)})")


def ask_nvml() -> NvmlAnswer:
    """Everything we ask NVML, of the driver of this machine. Never raises: a failure is part of the answer."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # the library is missing, does not match the driver, or has no permission
        return NvmlAnswer(failure=str(error) or type(error).__name__)
    try:
        driver, refusal, cards = None, "", []
        with contextlib.suppress(Exception):
            driver = _text(pynvml.nvmlSystemGetDriverVersion())
        for i in range(pynvml.nvmlDeviceGetCount()):
            try:
                cards.append(_ask_card(pynvml, i))
            except Exception as error:  # one card is lost; the others work
                refusal = f"card {i}: {str(error) or type(error).__name__}"
        if refusal and not cards:
            return NvmlAnswer(driver=driver, failure=refusal)
        return NvmlAnswer(driver=driver, cards=tuple(cards), lost=refusal or None)
    except Exception as error:
        return NvmlAnswer(failure=str(error) or type(error).__name__)
    finally:
        try:
            pynvml.nvmlShutdown()
        except Exception as error:
            sys.stderr.write(f"NVML did not shut down cleanly: {error}\n")


def _ask_card(nvml: Any, index: int) -> NvmlCard:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    refusals: dict[str, str] = {}

    def ask(field: str, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except Exception as error:  # vGPU, MIG and integrated GPUs refuse single questions
            refusals[field] = str(error) or type(error).__name__
            return None

    memory = ask("memory_total_bytes", lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    name = ask("name", lambda: nvml.nvmlDeviceGetName(handle))
    mode = ask("mig_enabled", lambda: nvml.nvmlDeviceGetMigMode(handle)[0])
    refusals.pop("mig_enabled", None)  # most cards have no MIG; that is not worth a note
    capability = ask("compute_capability", lambda: nvml.nvmlDeviceGetCudaComputeCapability(handle))
    return NvmlCard(
        name=_text(name) if name else None,
        memory_total_bytes=int(memory.total) if memory else None,
        memory_free_bytes=int(memory.free) if memory else None,
        compute_capability=tuple(capability) if capability else None,
        bus_width_bits=ask("bus_width_bits", lambda: int(nvml.nvmlDeviceGetMemoryBusWidth(handle))),
        memory_clock_mhz=ask(
            "memory_clock_mhz", lambda: int(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM))
        ),
        power_limit_mw=ask("power_limit_mw", lambda: int(nvml.nvmlDeviceGetEnforcedPowerLimit(handle))),
        mig_enabled=bool(mode) if mode is not None else None,
        slices=tuple(_ask_slices(nvml, handle)) if mode else (),
        refusals=refusals,
    )


def _ask_slices(nvml: Any, handle: Any) -> list[NvmlSlice]:
    slices = []
    for i in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, i)
            memory = nvml.nvmlDeviceGetMemoryInfo(part)
            name = _text(nvml.nvmlDeviceGetName(part))
        except nvml.NVMLError:  # places without an instance
            continue
        slices.append(
            NvmlSlice(name=name, memory_total_bytes=int(memory.total), memory_free_bytes=int(memory.free))
        )
    return slices


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
