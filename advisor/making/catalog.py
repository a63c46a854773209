"""`make catalog`: compile advisor/catalog/*.toml and the engine's sizes into advisor/catalog/index.json.

    python -m advisor.making.catalog [--without-engine]

Models of equal dimensions share one table of variants. The index holds the SHA-256 of each file it was made
from, so that a test can tell when it is out of date, and the version of the engine that gave the sizes.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from advisor.catalog import CATALOG_FOLDER, INDEX_FILE, Index, Variant
from advisor.catalog_file import Family, model_of, read_family
from advisor.sizes import SizesError, engine_version, variants_of
from quantize.architecture import Architecture


class RefusedError(Exception):
    """Models that claim to run and that the engine does not take."""


class Score(msgspec.Struct, frozen=True):
    """One published score, as a row."""

    model: str
    benchmark: str
    value: float
    unit: str
    harness: str
    setting: str
    source: str
    """The source in full."""
    date: str
    uniform: str
    note: str


def main() -> None:
    """Compile and say what was compiled."""
    parser = argparse.ArgumentParser(description="Compile the catalog's index.")
    parser.add_argument("--without-engine", action="store_true", help="leave the sizes out")
    arguments = parser.parse_args()
    index = build(with_engine=not arguments.without_engine)
    INDEX_FILE.write_bytes(_one_entry_a_line(index))
    runnable = sum(table is not None for table in index.table_of)
    print(
        f"{INDEX_FILE.name}: {index.catalog_version}, {len(index.models)} models, "
        f"{sum(model.verified for model in index.models)} verified, {runnable} with sizes from {index.engine}, "
        f"{len(index.size_tables)} size tables, {INDEX_FILE.stat().st_size / 1e6:.2f} MB"
    )


def build(*, with_engine: bool = True) -> Index:
    """The index of the files as they are. Raises InvalidInputError for a file that does not pass the check."""
    files = {path.name: path for path in family_files()}
    families = [read_family(path) for path in files.values()]
    sources: dict[str, str] = {}
    for family in families:
        for key, text in family.sources.items():
            if sources.setdefault(key, text) != text:
                raise ValueError(f"source '{key}' means two things: '{sources[key]}' and '{text}'")
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    engine = "none"
    tables: dict[Architecture, int] = {}
    size_tables: list[tuple[Variant, ...]] = []
    table_of: list[int | None] = []
    refused: list[str] = []
    if with_engine:
        version = engine_version()
        engine = f"llama-cpp-python {version.package}"
    models = [model_of(entry, family.family) for family in families for entry in family.model]
    for model in models:
        arch = model.architecture
        if not with_engine or arch is None or model.unsupported is not None:
            table_of.append(None)
            continue
        if arch not in tables:
            try:
                size_tables.append(variants_of(arch))
            except SizesError as error:
                refused.append(f"{model.id}: {str(error).splitlines()[-1]}")
                table_of.append(None)
                continue
            tables[arch] = len(size_tables) - 1
        table_of.append(tables[arch])
    if refused:
        raise RefusedError(
            "the engine refuses these models; say why in their field 'unsupported':\n" + "\n".join(refused)
        )
    used = {key for model in models for key in model.sources.values()}
    return Index(
        catalog_version=_version(hashes, engine),
        engine=engine,
        files=hashes,
        sources={key: text for key, text in sources.items() if key in used},
        models=tuple(models),
        table_of=tuple(table_of),
        size_tables=tuple(size_tables),
    )


def family_files() -> list[Path]:
    """The shipped families' files, in order."""
    return sorted(CATALOG_FOLDER.glob("*.toml"))


def load_scores() -> list[Score]:
    """Every published score in the families' files."""
    return [score for path in family_files() for score in _scores_of(read_family(path))]


def _scores_of(family: Family) -> Iterable[Score]:
    for entry in family.model:
        for group in entry.scores:
            for result in group.results:
                yield Score(
                    model=entry.id,
                    benchmark=result.benchmark,
                    value=result.value,
                    unit=group.unit,
                    harness=group.harness,
                    setting=result.setting or group.setting,
                    source=family.sources[group.source],
                    date=group.date,
                    uniform=group.uniform,
                    note=group.note,
                )


def _version(hashes: dict[str, str], engine: str) -> str:
    """The date of the last change and a hash of the content: the same content keeps its version."""
    digest = hashlib.sha256(msgspec.json.encode([sorted(hashes.items()), engine])).hexdigest()[:8]
    try:
        before = msgspec.json.decode(INDEX_FILE.read_bytes(), type=dict)["catalog_version"]
        if before.endswith(f"-{digest}"):
            return str(before)
    except (OSError, msgspec.DecodeError, KeyError):
        pass
    return f"{datetime.datetime.now(datetime.UTC):%Y.%m.%d}-{digest}"


def _one_entry_a_line(index: Index) -> bytes:
    """JSON with a line for each model and size table, so that a change shows as a readable diff."""
    fields = []
    for name in index.__struct_fields__:
        value = getattr(index, name)
        if name in ("models", "size_tables"):
            lines = b",\n".join(msgspec.json.encode(item) for item in value)
            text = b"[\n" + lines + b"\n]"
        else:
            text = msgspec.json.encode(value)
        fields.append(msgspec.json.encode(name) + b":" + text)
    return b"{" + b",\n".join(fields) + b"}\n"


if __name__ == "__main__":
    main()
