"""Makes the device library: TOML files for people, one compiled index for the program.

    python -m advisor.making.library compile           profiles/library/*.toml -> profiles/library/index.json
    python -m advisor.making.library import [--force]  advisor/making/data/*.csv -> profiles/library/*.toml

The import was made once, from a collected table of devices and two lists of chips and cards that the table lacks;
since then the TOML files are the source of truth, and `compile` is all that a change of theirs needs.
"""

from __future__ import annotations

import hashlib
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import msgspec

from profiles.budget import GIB
from profiles.device import Accelerator, Backend, Cpu, DeviceClass
from profiles.entry import Entry, Index
from profiles.library import INDEX
from profiles.names import read_name, short_keys

FOLDER = INDEX.parent


class Row(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One `[[device]]` of a TOML file, in the units people write: GB of memory, GB/s, TFLOPS, GHz."""

    name: str
    kind: str = "device"
    aliases: list[str] = []
    chip: str | None = None
    vendor: str | None = None
    architecture: str | None = None
    performance_cores: int | None = None
    efficiency_cores: int | None = None
    isa: list[str] | None = None
    boost_ghz: float | None = None
    ram_gb: list[float] = []  # the sizes it is sold with, GiB
    memory_type: str | None = None
    memory_bandwidth_gb_per_s: float | None = None
    gpu: str | None = None
    gpu_vendor: str | None = None
    gpu_cores: int | None = None
    gpu_backend: str | None = None
    gpu_memory_gb: float | None = None  # of its own; absent where it shares the main memory
    gpu_bandwidth_gb_per_s: float | None = None  # of its own memory
    gpu_fp16_tflops: float | None = None  # dense; matrix units where there are any
    gpu_architecture: str | None = None  # CUDA compute capability
    npu: str | None = None
    npu_backend: str | None = None
    pci_ids: list[str] = []
    ios: bool = False
    year: int | None = None
    note: str | None = None
    source: str
    bandwidth_source: str | None = None
    fp16_source: str | None = None
    verified: bool


class Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One TOML file: all devices of a class. `class` is also the file's name."""

    class_: DeviceClass = msgspec.field(name="class")
    device: list[Row]


def read_tables(folder: Path = FOLDER) -> dict[str, Table]:
    """The tables by file name, checked; raises ValueError that names file and device."""
    tables = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            table = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Table)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise ValueError(f"{path.name}: {error}") from error
        if table.class_ != path.stem:
            raise ValueError(f"{path.name}: class is '{table.class_}'")
        tables[path.name] = table
    return tables


def entry_of(row: Row, class_: DeviceClass) -> Entry:
    """The compiled form of a row: SI units, accelerators as the program sees them, every key it is found by."""
    accelerators = []
    bandwidth = _giga(row.memory_bandwidth_gb_per_s)
    if row.gpu:
        shared = row.gpu_memory_gb is None
        own_bandwidth = bandwidth if shared else _giga(row.gpu_bandwidth_gb_per_s)
        accelerators.append(
            Accelerator(
                name=row.gpu,
                vendor=row.gpu_vendor,
                backend=_backend(row.gpu_backend),
                memory_bytes=None if shared else round(row.gpu_memory_gb * GIB),  # type: ignore[operator]
                shared_memory=shared,
                memory_bandwidth_bytes_per_s=own_bandwidth,
                fp16_flops=round(row.gpu_fp16_tflops * 1e12) if row.gpu_fp16_tflops else None,
                compute_capability=row.gpu_architecture,
            )
        )
    if row.npu:
        accelerators.append(
            Accelerator(
                name=row.npu,
                vendor=row.gpu_vendor,
                backend=_backend(row.npu_backend),
                shared_memory=True,
                memory_bandwidth_bytes_per_s=bandwidth,
            )
        )
    p, e = row.performance_cores, row.efficiency_cores
    return Entry(
        name=row.name,
        class_=class_,
        kind=row.kind,  # type: ignore[arg-type]
        keys=_keys(row),
        aliases=tuple(row.aliases),
        gpu_cores=row.gpu_cores,
        cpu=Cpu(
            name=row.chip,
            vendor=row.vendor,
            architecture=row.architecture,
            performance_cores=p,
            efficiency_cores=e,
            cores=p + e if p is not None and e is not None else None,
            isa=tuple(row.isa) if row.isa else None,
            boost_hz=_giga(row.boost_ghz),
        ),
        ram_bytes=tuple(round(size * GIB) for size in row.ram_gb),
        memory_type=row.memory_type,
        bandwidth_bytes_per_s=bandwidth,
        accelerators=tuple(accelerators),
        pci_ids=tuple(row.pci_ids),
        ios=row.ios,
        year=row.year,
        note=row.note,
        source=row.source,
        bandwidth_source=row.bandwidth_source,
        fp16_source=row.fp16_source,
        verified=row.verified,
    )


def compile_index(folder: Path = FOLDER) -> Index:
    """The index of all tables. Raises ValueError for a name that stands twice."""
    tables = read_tables(folder)
    entries = [entry_of(row, table.class_) for table in tables.values() for row in table.device]
    names = [entry.name.lower() for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"these names stand twice: {', '.join(twice)}")
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in tables}
    return Index(sums, tuple(entries))


def encode_index(index: Index) -> bytes:
    """The index as it is shipped: one entry a line, so that a change shows as a change of lines."""
    lines = [msgspec.json.encode(_known(msgspec.to_builtins(entry))).decode() for entry in index.entries]
    sums = msgspec.json.encode(index.sha256).decode()
    return ('{"sha256":' + sums + ',"entries":[\n' + ",\n".join(lines) + "\n]}\n").encode()


def _keys(row: Row) -> tuple[str, ...]:
    keys: dict[str, None] = {}
    for name in (row.name, *row.aliases):
        key = read_name(name).key
        # A product whose name boils down to its chip's ("MacBook Air M1") must not answer for the chip.
        if key and not (
            row.kind == "device"
            and (row.chip or "").startswith("Apple")
            and key == read_name(row.chip or "").key
        ):
            keys[key] = None
            keys.update(dict.fromkeys(short_keys(key)))
    return tuple(keys)


def _known(value: Any) -> Any:
    """The value without its nulls: they are most of an entry and all of them defaults."""
    if isinstance(value, dict):
        return {key: _known(inner) for key, inner in value.items() if inner is not None}
    return [_known(inner) for inner in value] if isinstance(value, list) else value


def _giga(value: float | None) -> Any:
    """Billions as a whole number, so that the index shows no rounding noise; None stays None."""
    return None if value is None else round(value * 1e9)


def _backend(name: str | None) -> Backend | None:
    if name is not None and name not in get_args(Backend):
        raise ValueError(f"no backend '{name}'")
    return name  # type: ignore[return-value]


def main(arguments: list[str]) -> None:
    """Run one of the two commands of the module's docstring."""
    if arguments[:1] == ["compile"]:
        index = compile_index()
        INDEX.write_bytes(encode_index(index))
        print(f"{INDEX.name}: {len(index.entries)} devices from {len(index.sha256)} files")
    elif arguments[:1] == ["import"]:
        from advisor.making.library_import import write_tables

        if any(FOLDER.glob("*.toml")) and "--force" not in arguments:
            raise SystemExit("the TOML files are there and are the source of truth; --force writes them anew")
        write_tables(FOLDER)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
