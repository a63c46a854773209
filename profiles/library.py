"""Known devices: phones, computers, boards, cards and chips, from `profiles/library/index.json`.

The TOML files beside the index are the source of truth; `advisor/making/library.py` compiles them, since a compiled
index decodes in milliseconds. Every entry says where its figures come from and whether they were verified.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import msgspec

from profiles.device import Device, DeviceClass, Note
from profiles.entry import Entry, Index, device_of, with_card
from profiles.errors import AmbiguousDeviceError, UnknownDeviceError
from profiles.names import Name, parts_of, read_name

INDEX = Path(__file__).with_name("library") / "index.json"
# Variants of one name that differ less than this are one device for an estimate: the smaller is taken, with a note.
SAME_BANDWIDTH = 0.10
SAME_FLOPS = 0.40


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
    Raises UnknownDeviceError, with the nearest names, for a name that is unknown or fits devices that differ, and for
    a card with an amount of memory that it is not made with.
    """
    entries, read, _ = lookup(name)
    card = entries[0]
    exact = name.strip().lower() in load_library().by_name  # "GH200 480 GB" counts the processor's memory too
    if card.kind == "card" and not card.shared and card.sizes_gb and not exact:
        wrong = [size for size in read.sizes_gb if size not in card.sizes_gb]
        if wrong:
            raise UnknownDeviceError(
                f"'{name}': {card.name} has {' or '.join(f'{size:g}' for size in card.sizes_gb)} GB, not "
                f"{wrong[0]:g} GB; a computer with the card is described in a device file",
                tuple(entry.name for entry in load_library().by_key.get(read.key, [card])),
            )
    return build(name)


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
    # By the whole spelling too: a typing error in a maker's name ("Rasberry") is not in the key.
    spelt = difflib.get_close_matches(name.lower(), library.by_name, n=count, cutoff=0.6)
    close = difflib.get_close_matches(key, library.by_key, n=count, cutoff=0.5)
    names = [
        *inside[:count],
        *(library.by_name[spelling].name for spelling in spelt),
        *(library.by_key[k][0].name for k in close),
    ]
    return tuple(dict.fromkeys(names))[:count]


def summary(entry: Entry) -> dict[str, Any]:
    """One entry as a row of `devices list`: sizes in GiB, bandwidth of the processor a model would run on."""
    return {
        "name": entry.name,
        "class": entry.class_,
        "kind": entry.kind,
        "aliases": list(entry.aliases),
        "memory_gb": entry.sizes_gb,
        "bandwidth_bytes_per_s": entry.bandwidth or None,
        "accelerators": [a.name for a in entry.accelerators if a.name],
        "year": entry.year,
        "source": entry.source,
        "verified": entry.verified,
    }


def lookup(name: str) -> tuple[list[Entry], Name, str | None]:
    """(entries, qualifiers, note): one entry, or a host and its card.

    Raises UnknownDeviceError as `find` does.
    """
    found = match(name)
    if found is not None:
        return found
    library, near = load_library(), nearest(name)
    key = read_name(name).key
    inside = [e.name for k, entries in library.by_key.items() if f" {key} " in f" {k} " for e in entries]
    inside = list(dict.fromkeys(inside))
    if key and len(inside) > 1:
        raise AmbiguousDeviceError(
            f"'{name}' is ambiguous: it is part of {len(inside)} names", tuple(inside[:8])
        )
    hint = "" if near else " See 'slm-advisor devices list'."
    raise UnknownDeviceError(f"no device '{name}' in the library.{hint}", near)


@functools.lru_cache(maxsize=4096)
def match(name: str) -> tuple[list[Entry], Name, str | None] | None:
    """`lookup` without a search for the nearest names: None for an unknown one.

    Raises AmbiguousDeviceError for a name that fits devices that differ.
    """
    library = load_library()
    exact = library.by_name.get(name.strip().lower())
    whole = read_name(name)
    if exact is not None:
        return [exact], whole, None
    spelt, _space, last = name.strip().rpartition(" ")
    exact, sizes = library.by_name.get(spelt.lower()), read_name(last).sizes_gb
    if exact is not None and sizes and sizes[0] in exact.sizes_gb:  # its own name and a size it is sold with
        return [exact], msgspec.structs.replace(whole, sizes_gb=sizes), None
    if whole.key in library.by_key:
        entry, note = _choose(name, library.by_key[whole.key], whole)
        return [entry], whole, note
    found, notes, sizes = _parts(name, whole, library)
    hosts = [entry for entry in found if entry.kind != "card"]
    cards = [entry for entry in found if entry.kind == "card"]
    if len({card.name for card in cards}) > 1:
        raise AmbiguousDeviceError(
            f"'{name}' names several cards: name one", tuple(card.name for card in cards)
        )
    if hosts:
        own = [card for card in cards if not card.shared]
        read = msgspec.structs.replace(whole, sizes_gb=sizes)
        return [hosts[0], *own[:1]], read, "; ".join(notes) or None
    return (cards[:1], whole, "; ".join(notes) or None) if cards else None


def _parts(name: str, whole: Name, library: Library) -> tuple[list[Entry], list[str], tuple[float, ...]]:
    """The known devices among the parts of a longer name, what to note about the rest, and sizes that no card has."""
    found: list[Entry] = []
    sizes_left: tuple[float, ...] = ()
    notes: list[str] = []
    unknown: list[str] = []
    for part in parts_of(name):
        read = read_name(part)
        candidates = library.by_key.get(read.key) if read.key else None
        if candidates:
            sizes = read.sizes_gb or whole.sizes_gb
            entry, note = _choose(name, candidates, Name(read.key, sizes, whole.gpu_cores, whole.cpu_cores))
            found.append(entry)
            notes += [note] if note else []
            sizes_left += () if entry.kind == "card" else read.sizes_gb
            continue
        sizes_left += read.sizes_gb
        if read.key and not read.sizes_gb:
            unknown.append(part)
    if found and unknown:
        notes.append(f"not in the library and left aside: {', '.join(unknown)}")
    return found, notes, sizes_left


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
        left = [e for e in left if size in e.sizes_gb] or left
    if not left:
        raise AmbiguousDeviceError(
            f"'{name}' has no variant with {read.gpu_cores} GPU cores", tuple(e.name for e in candidates)
        )
    if len(left) == 1:
        return left[0], None
    # One thing listed as a product and as a chip: the product knows more.
    products = [e for e in left if e.kind == "device"]
    if len(products) == 1 and all(_alike(products[0], e) for e in left):
        return products[0], None
    smallest = min(left, key=lambda e: (min(e.sizes_gb, default=0.0), e.bandwidth, e.flops))
    if all(_alike(smallest, e) for e in left):
        others = ", ".join(e.name for e in left if e is not smallest)
        return smallest, f"'{name}' may be {smallest.name} or {others}: the smaller was taken"
    raise AmbiguousDeviceError(
        f"'{name}' is ambiguous: it fits devices that differ", tuple(e.name for e in left)
    )


def _alike(a: Entry, b: Entry) -> bool:
    def near(x: float, y: float, share: float) -> bool:
        return not x or not y or abs(x - y) <= share * max(x, y)

    return near(a.bandwidth, b.bandwidth, SAME_BANDWIDTH) and near(a.flops, b.flops, SAME_FLOPS)


def build(name: str) -> Device:
    """`find` for a name that a driver gave: a card shows a little less or more than what is sold."""
    entries, read, note = lookup(name)
    device = device_of(entries[0], read.sizes_gb)
    if len(entries) > 1:
        device = with_card(device, entries[0], entries[1])
    notes = list(device.notes)
    if note:
        notes.append(Note("name", note))
    return msgspec.structs.replace(device, notes=tuple(notes))
