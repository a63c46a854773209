"""The second half of `make catalog`: ask the engine for the compute buffer of every architecture of the catalog.

    python -m advisor.making.memory [--all]

Writes advisor/compute_buffers.json. The engine loads a skeleton of each model and makes a context without
allocating anything, 10 contexts x 3 settings, a little under a second a model. Answers of the same engine are
kept; `--all` asks again.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from advisor.catalog import load_catalog
from advisor.compute_buffer import CONTEXTS, MICRO_BATCH, TABLE_FILE, Buffers, Table, digest, load_table
from advisor.kv_cache import kv_cache_bytes, kv_type_problem
from profiles.engine.client import Engine
from profiles.engine.protocol import EngineFailure, EngineVersion, MemoryQuestion
from quantize.architecture import Architecture
from quantize.skeleton import write_skeleton
from quantize.types import TENSOR_TYPES

_LARGEST_MICRO_BATCH = 4096


def main() -> None:
    """Write the table and say what it holds."""
    parser = argparse.ArgumentParser(description="Ask the engine for compute buffers.")
    parser.add_argument("--all", action="store_true", help="ask again what has been asked")
    arguments = parser.parse_args()
    archs = {model.architecture for model in load_catalog().models if model.runnable} - {None}
    known = Table("none", {}) if arguments.all else load_table()
    table = make_table((arch for arch in archs if arch is not None), known)
    TABLE_FILE.write_bytes(_one_entry_a_line(table))
    print(f"{TABLE_FILE.name}: {len(table.buffers)} of {len(archs)} architectures from {table.engine}")


def make_table(archs: Iterable[Architecture], known: Table) -> Table:
    """The engine's answers for `archs`, those in `known` kept; whom it refuses is named and left to the formula."""
    buffers: dict[str, Buffers] = {}
    with Engine() as engine, tempfile.TemporaryDirectory() as folder:
        version = engine.version()
        if not isinstance(version, EngineVersion):
            raise SystemExit(version.message)
        name = f"llama-cpp-python {version.package}"
        path = Path(folder) / "skeleton.gguf"
        for arch in archs:
            key = digest(arch)
            if key in known.buffers and known.engine == name:
                buffers[key] = known.buffers[key]
                continue
            write_skeleton(arch, path)
            answer = measure(engine, arch, path)
            if isinstance(answer, EngineFailure):
                print(f"left out: {arch.name}, {arch.n_layer} blocks of {arch.n_embd}: {answer.message}")
            else:
                buffers[key] = answer
    return Table(name, dict(sorted(buffers.items())))


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
                if (
                    name == "quantized"
                ):  # some graphs outgrow the engine's own limit then; the rest is still true
                    break
                return reply
            row.append(-(-reply.compute_bytes // batch))
        complete = len(row) == len(CONTEXTS)
        rows[name] = (
            _never_less_in_total(arch, row, "f16" if name != "quantized" else "q4_0") if complete else ()
        )
    return Buffers(rows["plain"], rows["quantized"], rows["one_row"])


def _never_less_in_total(arch: Architecture, row: list[int], kv_type: str) -> tuple[int, ...]:
    """The nearest to `row` with which cache and compute buffer together never shrink as the context grows.

    The engine's layout gets luckier at some contexts, and what it needs in all may then shrink. Where it would, at
    a micro-batch of up to 4096 and with the smallest cache, bump and dip meet in the middle: the isotonic
    regression that errs least at its worst, half the sum of the largest before and the smallest after.
    """
    cache = [
        kv_cache_bytes(arch, context, kv_type, kv_type, 1) / _LARGEST_MICRO_BATCH for context in CONTEXTS
    ]
    total = [own + shared for own, shared in zip(row, cache, strict=True)]
    return tuple(
        math.ceil((max(total[: index + 1]) + min(total[index:])) / 2 - cache[index])
        for index in range(len(row))
    )


def _one_entry_a_line(table: Table) -> bytes:
    entries = ",\n".join(
        f"{msgspec.json.encode(key).decode()}:{msgspec.json.encode(value).decode()}"
        for key, value in table.buffers.items()
    )
    return f'{{"engine":{msgspec.json.encode(table.engine).decode()},"buffers":{{\n{entries}\n}}}}\n'.encode()


if __name__ == "__main__":
    main()
