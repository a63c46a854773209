"""`make memory`: ask the engine for the compute buffer of every architecture of the catalog.

    python -m advisor.making.memory

Writes advisor/compute_buffers.json. The engine loads a skeleton of each model and makes a context without
allocating anything, 10 contexts x 3 settings, about half a second a model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from advisor.compute_buffer import CONTEXTS, MICRO_BATCH, TABLE_FILE, Buffers, Table, digest
from advisor.kv_cache import kv_cache_bytes, kv_type_problem
from profiles.engine.client import Engine
from profiles.engine.protocol import EngineFailure, EngineVersion, MemoryQuestion
from quantize.architecture import Architecture
from quantize.skeleton import write_skeleton
from quantize.types import TENSOR_TYPES

_LARGEST_MICRO_BATCH = 4096


def main() -> None:
    """Write the table and say what it holds."""
    from advisor.catalog import load_catalog

    archs = {model.architecture for model in load_catalog().models if model.runnable}
    table = make_table(arch for arch in archs if arch is not None)
    TABLE_FILE.write_bytes(_one_entry_a_line(table))
    print(f"{TABLE_FILE.name}: {len(table.buffers)} of {len(archs)} architectures from {table.engine}")


def make_table(archs: Iterable[Architecture]) -> Table:
    """The engine's answers for `archs`; those it refuses are left to the formula, and named."""
    buffers: dict[str, Buffers] = {}
    with Engine() as engine, tempfile.TemporaryDirectory() as folder:
        version = engine.version()
        if not isinstance(version, EngineVersion):
            raise SystemExit(version.message)
        path = Path(folder) / "skeleton.gguf"
        for arch in archs:
            write_skeleton(arch, path)
            answer = measure(engine, arch, path)
            if isinstance(answer, EngineFailure):
                print(f"left out: {arch.name}, {arch.n_layer} blocks of {arch.n_embd}: {answer.message}")
            else:
                buffers[digest(arch)] = answer
    return Table(f"llama-cpp-python {version.package}", dict(sorted(buffers.items())))


def measure(engine: Engine, arch: Architecture, path: Path) -> Buffers | EngineFailure:
    """The compute buffer per token of a micro-batch, over `CONTEXTS`, made to never fall below what must hold."""
    rows: dict[str, tuple[int, ...]] = {}
    for name, kv_type, n_outputs in (
        ("plain", "f16", None),
        ("quantized", "q8_0", None),
        ("one_row", "f16", 1),
    ):
        if kv_type_problem(arch, kv_type, kv_type):
            rows[name] = ()
            continue
        row: list[int] = []
        for context in CONTEXTS:
            batch = min(MICRO_BATCH, context)
            kind = TENSOR_TYPES[kv_type.upper()].id
            reply = engine.memory(
                MemoryQuestion(str(path), context, batch, type_k=kind, type_v=kind, n_outputs=n_outputs)
            )
            if isinstance(reply, EngineFailure):
                if name == "quantized":  # some graphs outgrow the engine's own limit then; the rest is still true
                    break
                return reply
            row.append(-(-reply.compute_bytes // batch))
        complete = len(row) == len(CONTEXTS)
        rows[name] = _never_less_in_total(arch, row, "f16" if name != "quantized" else "q4_0") if complete else ()
    return Buffers(rows["plain"], rows["quantized"], rows["one_row"])


def _never_less_in_total(arch: Architecture, row: list[int], kv_type: str) -> tuple[int, ...]:
    """`row` with dips filled so far that cache and compute buffer together never shrink as the context grows.

    The engine's layout gets luckier at some contexts. That is only worth keeping while the cache has grown by
    more, at any micro-batch up to 4096 and for the smallest cache.
    """
    kept = row[:1]
    for index in range(1, len(row)):
        cache = [
            kv_cache_bytes(arch, context, kv_type, kv_type, 1) for context in CONTEXTS[index - 1 : index + 1]
        ]
        kept.append(max(row[index], kept[-1] - (cache[1] - cache[0]) // _LARGEST_MICRO_BATCH))
    return tuple(kept)


def _one_entry_a_line(table: Table) -> bytes:
    entries = ",\n".join(
        f"{msgspec.json.encode(key).decode()}:{msgspec.json.encode(value).decode()}"
        for key, value in table.buffers.items()
    )
    return f'{{"engine":{msgspec.json.encode(table.engine).decode()},"buffers":{{\n{entries}\n}}}}\n'.encode()


if __name__ == "__main__":
    main()
