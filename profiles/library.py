"""Known devices: phones, computers, boards, cards and chips, from `profiles/library/index.json`.

The TOML files beside the index are the source of truth; `advisor/making/library.py` compiles them, since a compiled
index decodes in milliseconds. Every entry says where its figures come from and whether they were verified.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal

import msgspec

from profiles.budget import budget_cleared, reserve_source
from profiles.device import Accelerator, Cpu, Device, DeviceClass, Memory, Note, Platform
from profiles.errors import UnknownDeviceError
from profiles.names import Name, parts_of, read_name

INDEX = Path(__file__).with_name("library") / "index.json"
GIB = 1 << 30
# Variants of one name that differ less than this are one device for an estimate: the smaller is taken, with a note.
SAME_BANDWIDTH = 0.10
SAME_FLOPS = 0.40


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


class Index(msgspec.Struct, frozen=True):
    """The compiled library: SHA-256 of each TOML file it was made from, and the entries."""

    sha256: dict[str, str]
    entries: tuple[Entry, ...]


class Library:
    """The entries with the tables that find them by name."""

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self.entries = entries
        self.by_name: dict[str, Entry] = {}
        self.by_key: dict[str, list[Entry]] = {}
        self.by_pci: dict[str, Entry] = {}
        for entry in entries:
            self.by_name[entry.name.lower()] = entry
            for alias in entry.aliases:
                self.by_name.setdefault(alias.lower(), entry)
            for key in entry.keys:
                self.by_key.setdefault(key, []).append(entry)
            for pci_id in entry.pci_ids:
                self.by_pci.setdefault(pci_id, entry)


@functools.cache
def load_library() -> Library:
    """The library that ships with this version."""
    return Library(msgspec.json.decode(INDEX.read_bytes(), type=Index).entries)


def card_by_pci_id(pci_id: str) -> Entry | None:
    """The entry of a PCI vendor and device id ("1002:15bf"), or None."""
    return load_library().by_pci.get(pci_id)


@functools.lru_cache(maxsize=4096)
def find(name: str) -> Device:
    """The device a name means: a product, a chip, a card, or a host with a card ("Pi 5 8GB (AMD RX 7600)").

    Spelling, vendor words and trade marks do not matter. A memory size or a number of GPU cores in the name picks
    the variant; without one the smallest is taken and a note says so.
    Raises UnknownDeviceError, with the nearest names, for a name that is unknown or fits devices that differ.
    """
    return _build(name)


def search(text: str, class_: DeviceClass | None = None) -> list[Entry]:
    """Entries whose name or alias holds every word of `text`, in the library's order."""
    words = read_name(text).key.split() or text.lower().split()
    found = []
    for entry in load_library().entries:
        if class_ is not None and entry.class_ != class_:
            continue
        chip = entry.cpu.name or ""
        hay = " ".join(
            (*entry.keys, entry.name, *entry.aliases, chip, *(a.name or "" for a in entry.accelerators))
        )
        if all(word in hay.lower() for word in words):
            found.append(entry)
    return found


def nearest(name: str, count: int = 5) -> tuple[str, ...]:
    """Names of the library that look like `name`, best first."""
    import difflib

    library = load_library()
    key = read_name(name).key or name.lower()
    inside = [e.name for k, entries in library.by_key.items() if key and key in k for e in entries]
    close = difflib.get_close_matches(key, library.by_key, n=count, cutoff=0.5)
    return tuple(dict.fromkeys([*inside[:count], *(library.by_key[k][0].name for k in close)]))[:count]


def summary(entry: Entry) -> dict[str, Any]:
    """One entry as a row of `devices list`: sizes in GiB, bandwidth of the processor a model would run on."""
    return {
        "name": entry.name,
        "class": entry.class_,
        "kind": entry.kind,
        "aliases": list(entry.aliases),
        "memory_gb": _sizes_gb(entry),
        "bandwidth_bytes_per_s": _bandwidth(entry) or None,
        "accelerators": [a.name for a in entry.accelerators if a.name],
        "year": entry.year,
        "source": entry.source,
        "verified": entry.verified,
    }


def lookup(name: str) -> tuple[list[Entry], Name, str | None]:
    """(entries, qualifiers, note): one entry, or a host and its card.

    Raises UnknownDeviceError as `find` does.
    """
    library = load_library()
    exact = library.by_name.get(name.strip().lower())
    whole = read_name(name)
    if exact is not None:
        return [exact], whole, None
    if whole.key in library.by_key:
        entry, note = _choose(name, library.by_key[whole.key], whole)
        return [entry], whole, note
    found: list[Entry] = []
    notes: list[str] = []
    unknown: list[str] = []
    for part in parts_of(name):
        read = read_name(part)
        candidates = library.by_key.get(read.key) if read.key else None
        if candidates:
            sizes = read.sizes_gb or whole.sizes_gb
            qualified = Name(read.key, sizes, whole.gpu_cores, whole.cpu_cores)
            entry, note = _choose(name, candidates, qualified)
            found.append(entry)
            notes += [note] if note else []
        elif read.key and not read.sizes_gb:
            unknown.append(part)
    if found and unknown:
        notes.append(f"not in the library and left aside: {', '.join(unknown)}")
    hosts = [entry for entry in found if entry.kind != "card"]
    cards = [entry for entry in found if entry.kind == "card"]
    if hosts:
        own = [card for card in cards if not card.shared]
        return [hosts[0], *own[:1]], whole, "; ".join(notes) or None
    if cards:
        return cards[:1], whole, "; ".join(notes) or None
    near = nearest(name)
    inside = {
        e.name for key, entries in library.by_key.items() if f" {whole.key} " in f" {key} " for e in entries
    }
    if whole.key and len(inside) > 1:
        raise UnknownDeviceError(f"'{name}' is ambiguous: it is part of {len(inside)} names", near)
    hint = "" if near else " See 'slm-advisor devices list'."
    raise UnknownDeviceError(f"no device '{name}' in the library.{hint}", near)


def _choose(name: str, candidates: list[Entry], read: Name) -> tuple[Entry, str | None]:
    """The variant the qualifiers pick; the smallest of near-equal ones; else an error that names them."""
    left = candidates
    if read.gpu_cores is not None:
        left = [e for e in left if e.gpu_cores == read.gpu_cores] or (
            left if all(e.gpu_cores is None for e in left) else []
        )
    if read.cpu_cores is not None:
        cores = read.cpu_cores
        left = [e for e in left if (e.cpu.performance_cores, e.cpu.efficiency_cores) == cores] or left
    for size in read.sizes_gb:
        left = [e for e in left if size in _sizes_gb(e)] or left
    if not left:
        raise UnknownDeviceError(
            f"'{name}' has no variant with {read.gpu_cores} GPU cores", tuple(e.name for e in candidates)
        )
    if len(left) == 1:
        return left[0], None
    # One thing listed as a product and as a chip: the product knows more.
    products = [e for e in left if e.kind == "device"]
    if len(products) == 1 and all(_alike(products[0], e) for e in left):
        return products[0], None
    smallest = min(left, key=lambda e: (min(_sizes_gb(e), default=0.0), _bandwidth(e), _flops(e)))
    if all(_alike(smallest, e) for e in left):
        others = ", ".join(e.name for e in left if e is not smallest)
        return smallest, f"'{name}' may be {smallest.name} or {others}: the smaller was taken"
    raise UnknownDeviceError(
        f"'{name}' is ambiguous: it fits devices that differ", tuple(e.name for e in left)
    )


def _alike(a: Entry, b: Entry) -> bool:
    def near(x: float, y: float, share: float) -> bool:
        return not x or not y or abs(x - y) <= share * max(x, y)

    return near(_bandwidth(a), _bandwidth(b), SAME_BANDWIDTH) and near(_flops(a), _flops(b), SAME_FLOPS)


def _bandwidth(entry: Entry) -> float:
    own = entry.accelerators[0].memory_bandwidth_bytes_per_s if entry.accelerators else None
    return own or entry.bandwidth_bytes_per_s or 0.0


def _flops(entry: Entry) -> float:
    return (entry.accelerators[0].fp16_flops if entry.accelerators else None) or 0.0


def _sizes_gb(entry: Entry) -> list[float]:
    if entry.kind == "card" and not entry.shared:
        return [a.memory_bytes / GIB for a in entry.accelerators if a.memory_bytes]
    return [size / GIB for size in entry.ram_bytes]


def _build(name: str) -> Device:
    entries, read, note = lookup(name)
    device = device_of(entries[0], read.sizes_gb)
    if len(entries) > 1:
        device = _with_card(device, entries[0], entries[1])
    notes = list(device.notes)
    if note:
        notes.append(Note("name", note))
    return msgspec.structs.replace(device, notes=tuple(notes))


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
    from profiles.ledger import missing_sources

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


def _with_card(host: Device, host_entry: Entry, card: Entry) -> Device:
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
