"""One known device as the library holds it, and the `Device` it describes."""

from __future__ import annotations

from typing import Literal

import msgspec

from profiles.budget import GIB, budget_cleared, reserve_source
from profiles.device import Accelerator, Cpu, Device, DeviceClass, Memory, Note, Platform
from profiles.ledger import missing_sources


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One known device. `kind`: a whole product, a chip with its usual memory, or a card that goes into a host."""

    name: str
    class_: DeviceClass = msgspec.field(name="class")
    kind: Literal["device", "chip", "card"]
    keys: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    gpu_cores: int | None = None
    cpu: Cpu = Cpu()
    ram_bytes: tuple[int, ...] = ()
    memory_type: str | None = None
    bandwidth_bytes_per_s: float | None = None
    accelerators: tuple[Accelerator, ...] = ()
    pci_ids: tuple[str, ...] = ()
    ios: bool = False
    year: int | None = None
    note: str | None = None
    source: str
    fp16_source: str | None = None  # where it differs from `source`
    bandwidth_source: str | None = None
    verified: bool = False

    @property
    def shared(self) -> bool:
        """Whether its first accelerator takes from main memory."""
        return bool(self.accelerators and self.accelerators[0].shared_memory)

    @property
    def sizes_gb(self) -> list[float]:
        """The memory sizes it comes with, GiB: a card's own memory, else the main memory."""
        if self.kind == "card" and not self.shared:
            return [a.memory_bytes / GIB for a in self.accelerators if a.memory_bytes]
        return [size / GIB for size in self.ram_bytes]

    @property
    def bandwidth(self) -> float:
        """Bytes per second of the memory a model would run from; 0 where it is unknown."""
        own = self.accelerators[0].memory_bandwidth_bytes_per_s if self.accelerators else None
        return own or self.bandwidth_bytes_per_s or 0.0

    @property
    def flops(self) -> float:
        """FP16 rate of its first accelerator; 0 where it is unknown."""
        return (self.accelerators[0].fp16_flops if self.accelerators else None) or 0.0


class Index(msgspec.Struct, frozen=True):
    """The compiled library: SHA-256 of each TOML file it was made from, and the entries."""

    sha256: dict[str, str]
    entries: tuple[Entry, ...]


def device_of(entry: Entry, sizes_gb: tuple[float, ...] = ()) -> Device:
    """The device of one entry; a size in `sizes_gb` picks its memory, else the smallest option."""
    sources: dict[str, str] = {}
    notes: list[Note] = []
    total, note = _pick_ram(entry, sizes_gb)
    if note:
        notes.append(Note("memory.total_bytes", note))
    memory = Memory(
        total_bytes=total, type=entry.memory_type, bandwidth_bytes_per_s=entry.bandwidth_bytes_per_s
    )
    cleared = budget_cleared(memory, entry.class_, ios=entry.ios)
    memory = msgspec.structs.replace(memory, budget_cleared_bytes=cleared)
    accelerators = tuple(_sized(a, entry, total) for a in entry.accelerators)
    device = Device(
        name=entry.name,
        class_=entry.class_,
        cpu=entry.cpu,
        memory=memory,
        accelerators=accelerators,
        platform=Platform(system="ios") if entry.ios else Platform(),
    )
    _mark(device, entry, sources)
    if cleared is not None:
        sources["memory.budget_cleared_bytes"] = reserve_source(entry.class_, ios=entry.ios)
    if total is None:
        notes.append(Note("memory.total_bytes", "the library does not know the memory of the host"))
    notes.append(Note("memory.budget_now_bytes", "only a device that is asked knows what is free now"))
    if entry.note:
        notes.append(Note("", entry.note))
    notes += accelerator_gaps(accelerators)
    return msgspec.structs.replace(device, sources=sources, notes=tuple(notes))


def with_card(host: Device, host_entry: Entry, card: Entry) -> Device:
    """The host with a card in it: the card's class, and the card before the host's own graphics."""
    built = device_of(card)
    moved = {}
    for path, source in host.sources.items():
        if path.startswith("accelerators."):
            _, index, field = path.split(".", 2)
            path = f"accelerators.{int(index) + 1}.{field}"
        moved[path] = source
    moved |= {p: s for p, s in built.sources.items() if p.startswith("accelerators.") or p == "class"}
    return msgspec.structs.replace(
        host,
        name=f"{host_entry.name} + {card.name}",
        class_=card.class_,
        accelerators=(*built.accelerators, *host.accelerators),
        sources=moved,
        notes=(*host.notes, *(note for note in built.notes if note.field == "")),
    )


def accelerator_gaps(accelerators: tuple[Accelerator, ...]) -> list[Note]:
    """Why figures that an estimate would use are null."""
    notes = []
    for i, accelerator in enumerate(accelerators):
        name = accelerator.name or "a GPU without a name"
        if accelerator.memory_bytes is None:
            shared = "shares the main memory: see memory.total_bytes"
            why = shared if accelerator.shared_memory else f"the memory of '{name}' is not known"
            notes.append(Note(f"accelerators.{i}.memory_bytes", why))
        for field in ("memory_bandwidth_bytes_per_s", "fp16_flops"):
            if getattr(accelerator, field) is None:
                notes.append(Note(f"accelerators.{i}.{field}", f"the library has no figure for '{name}'"))
    return notes


def words_of(entry: Entry, what: str = "source") -> str:
    """What `sources` says of a fact from this entry; `what` is "source", "bandwidth_source" or "fp16_source"."""
    source = getattr(entry, what) or entry.source
    return f"library: {entry.name} ({source})"


def _mark(device: Device, entry: Entry, sources: dict[str, str]) -> None:
    for path in missing_sources(device, sources):
        what = "source"
        if path.endswith("bandwidth_bytes_per_s"):
            what = "bandwidth_source"
        elif path.endswith("fp16_flops"):
            what = "fp16_source"
        sources[path] = words_of(entry, what)


def _pick_ram(entry: Entry, sizes_gb: tuple[float, ...]) -> tuple[int | None, str | None]:
    """(bytes, note) of the main memory."""
    options = entry.ram_bytes
    if entry.kind == "card" and not entry.shared:
        return None, None
    for size in sizes_gb:
        wanted = round(size * GIB)
        if wanted in options or (size >= 0.5 and options):
            note = (
                None
                if wanted in options
                else f"{size:g} GB is taken from the name; the library lists other sizes"
            )
            return wanted, note
    if not options:
        return None, None
    if len(options) == 1:
        return options[0], None
    listed = ", ".join(f"{size / GIB:g}" for size in options)
    return options[0], f"sold with {listed} GB; the smallest was taken: write the size in the name"


def _sized(accelerator: Accelerator, entry: Entry, total: int | None) -> Accelerator:
    """The accelerator with the limits that follow from the main memory's size."""
    if accelerator.backend != "metal" or not total:
        return accelerator
    from profiles.probes.apple import metal_limit

    # iOS gives an application less than Metal's share.
    limit = (
        budget_cleared(Memory(total_bytes=total), entry.class_, ios=True) if entry.ios else metal_limit(total)
    )
    return msgspec.structs.replace(accelerator, memory_limit_bytes=limit)
