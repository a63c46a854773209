"""The target of a recommendation: a device, the ways llama.cpp can run on it, and the memory it may take.

Two budgets are known of a device: what is free now and what is free with other applications closed. A device
that is in the room is judged by what is free now, one from the library or a file by the cleared budget, unless
the user says otherwise or gives an amount.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from advisor.errors import NotEnoughEvidenceError
from advisor.measured_speed import KnownSpeeds
from advisor.speed import Processor, processors
from advisor.workload import Workload
from profiles.device import Device

UNPROVEN = frozenset({("phone", "vulkan"), ("tablet", "vulkan")})
"""Class and backend for which nobody has published a speed of llama.cpp: such a place can be estimated when it is
asked for by name, and is never chosen."""

DESKTOP_BYTES = 400_000_000
"""What driver and desktop hold of a graphics card's own memory (0.3 to 1 GB by the device table's notes)."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A processor that can run a model, and the memory of its own that it may use.

    `memory_bytes` is None for a CPU (it uses the host's) and for an accelerator whose memory is not known.
    `shared` marks memory that comes out of the host's budget.
    """

    processor: Processor
    memory_bytes: int | None
    shared: bool

    @property
    def proven(self) -> bool:
        return (self.processor.class_, self.processor.backend) not in UNPROVEN


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A device and what of it may be used. `total_bytes` caps host and accelerator together when it was given."""

    device: Device
    places: tuple[Place, ...]
    host_bytes: int | None
    total_bytes: int | None
    budget: Literal["now", "cleared", "given"]
    known_speeds: KnownSpeeds = KnownSpeeds()  # what was measured on this very device

    @property
    def room(self) -> float:
        """Bytes that no deployment can exceed: all the memory there is, infinite where one part is not known."""
        if self.total_bytes is not None:
            return self.total_bytes
        if self.host_bytes is None:
            return math.inf
        most = 0
        for place in self.places:
            if place.processor.accelerator is None or place.shared:
                continue
            if place.memory_bytes is None:
                return math.inf
            most = max(most, place.memory_bytes)
        return self.host_bytes + most

    @property
    def usable_places(self) -> tuple[Place, ...]:
        """The places a deployment may be put without being asked for; unproven ones only where nothing else is."""
        return tuple(place for place in self.places if place.proven) or self.places

    @property
    def cpu(self) -> Processor | None:
        """The processor that runs what is not offloaded."""
        return next((place.processor for place in self.places if place.processor.backend == "cpu"), None)


def make_target(
    device: Device, workload: Workload, *, strict: bool = True, known_speeds: KnownSpeeds | None = None
) -> Target:
    """Choose the budget and the places to run; `known_speeds` are measurements of this very device.

    Raises NotEnoughEvidenceError for a device whose memory or bandwidth is not known, unless `strict` is off: a
    speed can be estimated without knowing what fits, and memory without a speed.
    """
    memory = device.memory
    budget = workload.budget or ("now" if memory.budget_now_bytes is not None else "cleared")
    if budget == "now":
        host = memory.budget_now_bytes
        if host is None:
            host = memory.budget_cleared_bytes
    else:
        host = memory.budget_cleared_bytes
    given = workload.memory_budget_bytes if budget == "given" else None
    if given is not None:
        # Nobody has more memory for asking: neither than there is, nor than the control group allows.
        own = [size - workload.leave_free_bytes for size in (memory.total_bytes, memory.limit_bytes) if size]
        host = max(0, min([given, *own]))
    elif host is not None:
        host = max(0, host - workload.leave_free_bytes)
    places = tuple(_place(device, processor, budget, host) for processor in processors(device))
    if strict and host is None and all(place.memory_bytes is None for place in places):
        raise NotEnoughEvidenceError(
            f"the memory of '{device.name or 'this device'}' is not known; give --memory-budget or "
            "memory.total_bytes in the device file"
        )
    if strict and all(place.processor.bandwidth_bytes_per_s is None for place in places):
        raise NotEnoughEvidenceError(
            f"no speed can be estimated for '{device.name or 'this device'}': give the name of its chip, or "
            "memory.bandwidth_bytes_per_s, in the device file"
        )
    return Target(
        device=device,
        places=places,
        host_bytes=host,
        total_bytes=given,
        budget=budget,
        known_speeds=known_speeds or KnownSpeeds(),
    )


def _place(device: Device, processor: Processor, budget: str, host: int | None) -> Place:
    if processor.accelerator is None:
        return Place(processor=processor, memory_bytes=None, shared=False)
    accelerator = device.accelerators[processor.accelerator]
    shared = bool(accelerator.shared_memory)
    amounts = [accelerator.memory_bytes, accelerator.memory_limit_bytes]
    if shared:
        amounts.append(host)
    elif budget == "now" and accelerator.memory_free_bytes is not None:
        amounts.append(accelerator.memory_free_bytes)
    elif accelerator.memory_bytes is not None:
        amounts.append(accelerator.memory_bytes - DESKTOP_BYTES)
    known = [amount for amount in amounts if amount is not None]
    return Place(processor=processor, memory_bytes=min(known) if known else None, shared=shared)
