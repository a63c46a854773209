"""Published scores as observations of abilities: which row is which item of which model.

The rows come from the catalog's TOML files and, for models that are not in the catalog but tie harnesses
together, from `data/linking-scores.csv`. What a benchmark measures is in `data/benchmarks.toml`, which names
mean one model in `data/versions.toml`. Rows that no table names are left out.
"""

from __future__ import annotations

import csv
import math
import re
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase as fnmatch
from pathlib import Path
from typing import Any

import msgspec

from advisor.catalog import read_index
from advisor.making.abilities import Background, Item, Kind, Observation
from advisor.making.catalog import load_scores
from advisor.quality_table import Axis

DATA = Path(__file__).with_name("data")
BENCHMARKS = DATA / "benchmarks.toml"
VERSIONS = DATA / "versions.toml"

LINKING = DATA / "linking-scores.csv"

ANCHOR_HARNESS = "Open LLM Leaderboard v2"
ANCHOR_BENCHMARK = "OLLBv2/Average"


class Row(msgspec.Struct, frozen=True):
    """One published score as its source gives it."""

    model: str
    benchmark: str
    score: float
    unit: str
    setting: str


class Versions(msgspec.Struct, frozen=True):
    """`versions.toml`."""

    spelling: dict[str, str]
    base: dict[str, str]
    sibling: dict[str, str]
    specialist: dict[Axis, list[str]]


def read_rows() -> list[Row]:
    """Every published score there is."""
    rows = [Row(s.model, s.benchmark, s.value, s.unit, s.setting) for s in load_scores()]
    with LINKING.open(encoding="utf-8", newline="") as file:
        for r in csv.DictReader(file):
            rows.append(Row(r["model"], r["benchmark"], float(r["score"]), r["unit"], r["setting"]))
    return rows


def read_versions() -> Versions:
    """Which names are one model, which a base, which a sibling."""
    return msgspec.convert(tomllib.loads(VERSIONS.read_text("utf-8")), Versions)


def background(models: Iterable[str]) -> dict[str, Background]:
    """Size, release and speciality of models: from the catalog, and for others the size from the name.

    A mixture of experts counts as the geometric mean of its total and active parameters, between which its
    quality lies.
    """
    catalog = {model.id: model for model in read_index().models}
    specialists = read_versions().specialist
    found = {}
    for name in models:
        entry = catalog.get(name)
        billions = year = None
        if entry is not None:
            billions = math.sqrt(entry.parameters * (entry.parameters_active or entry.parameters)) / 1e9
            year = _year(entry.release_date)
        elif sizes := re.findall(r"(\d+(?:\.\d+)?)([bm])(?![a-z])", name.lower()):
            numbers = [float(number) / (1 if unit == "b" else 1000) for number, unit in sizes[:2]]
            billions = math.exp(sum(map(math.log, numbers)) / len(numbers))
        axis = next((a for a, of in specialists.items() if any(fnmatch(name, one) for one in of)), None)
        found[name] = Background(math.log(billions) if billions else None, year, axis)
    return found


def _year(date: str | None) -> float | None:
    """2025-07 or 2025-07-01 as 2025.5."""
    if date is None:
        return None
    year, *month = date.split("-")
    return int(year) + ((int(month[0]) - 1) / 12 if month else 0.5)


def anchor_averages(rows: Iterable[Row]) -> list[tuple[str, float]]:
    """(model, average 0-100) of the harness whose average is the scale."""
    return [(row.model, row.score) for row in rows if row.benchmark == ANCHOR_BENCHMARK]


def observations(rows: Iterable[Row]) -> list[Observation]:
    """The rows that say something about an axis; the others are dropped."""
    versions = read_versions()
    harnesses = tomllib.loads(BENCHMARKS.read_text("utf-8"))["harness"]
    items: dict[str, Item] = {}
    found = []
    for row in rows:
        for harness in harnesses:
            facts = _facts(harness, row)
            if facts is None:
                continue
            model, kind, name = _who(row.model, harness, versions)
            if kind is None:
                continue
            maximum = None if harness["maximum"] == "elo" else float(harness["maximum"])
            item = Item(
                key=f"{name}/{facts.get('item', row.benchmark.removeprefix(harness['prefix']))}",
                harness=name,
                axes=tuple(facts["axes"]),
                chance=facts.get("chance", 0) / 100,
                spread=facts.get("spread", 2) / 100,
                maximum=1.0 if maximum is not None else None,
                kind=kind,
                offset=harness.get("offset", True),
            )
            # Two spellings of a benchmark are one item, with the facts of the first.
            item = items.setdefault(item.key, item)
            found.append(Observation(model, item, row.score / maximum if maximum else row.score))
    return found


def _facts(harness: dict[str, Any], row: Row) -> dict[str, Any] | None:
    """What the table says of the row's benchmark under this harness; None where they do not fit."""
    if not row.benchmark.startswith(harness["prefix"]):
        return None
    if row.unit != harness.get("unit", row.unit) or row.setting != harness.get("setting", row.setting):
        return None
    facts: dict[str, Any] | None = harness["benchmarks"].get(row.benchmark.removeprefix(harness["prefix"]))
    return facts


def _who(published: str, harness: dict[str, Any], versions: Versions) -> tuple[str, Kind | None, str]:
    """The model that a row is of, the kind of its harness for that model, and the harness's name.

    A base model's row counts for the tuned model, under a harness of kind "base"; kind None means that the
    row is left out.
    """
    model = versions.spelling.get(published, published)
    kind: Kind = harness.get("kind", "uniform")
    if model not in versions.base:
        return model, kind, harness["name"]
    if kind == "vendor":
        return model, None, harness["name"]
    name = harness["name"] if kind == "base" else f"{harness['name']}, base"
    return versions.base[model], "base", name
