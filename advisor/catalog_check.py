"""Checking a family's TOML file: everything that is wrong with it, each with its line and field.

Every field is converted on its own, so that one mistake does not hide the next. A field that no struct knows is a
mistake: a misspelt dimension must not become a default.
"""

from __future__ import annotations

import functools
import math
import tomllib
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from advisor.catalog_file import Entry, Family
from advisor.toml_text import key_lines
from quantize.architecture import Architecture, parameter_count, tensors
from quantize.errors import QuantizeError
from quantize.types import PRESETS, TENSOR_TYPES

MAX_FILE_BYTES = 16 << 20

Place = tuple[str | int, ...]
"""Where in a document: ("model", 2, "license")."""


class Problem(msgspec.Struct, frozen=True):
    """Something wrong in a file; `line` is None where it could not be told."""

    file: str
    line: int | None
    field: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line is not None else self.file
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


def check_file(path: Path) -> tuple[Family | None, list[Problem]]:
    """A file's content, None if it has problems, and its problems in the order of their lines."""
    name = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            return None, [
                Problem(name, None, "", f"is larger than {MAX_FILE_BYTES:,} bytes: no catalog file")
            ]
        text = data.decode()
    except OSError as error:
        return None, [Problem(name, None, "", f"cannot be read: {error.strerror or error}")]
    except UnicodeDecodeError as error:
        return None, [Problem(name, None, "", f"is not UTF-8 (byte {error.start})")]
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return None, [_syntax_problem(name, text, error)]
    found = list(_mistakes(document, Family, ()))
    family: Family | None = None
    if not found:
        family = msgspec.convert(document, Family)
        found = list(_inconsistencies(family))
    if not found:
        return family, []
    lines = key_lines(text)
    problems = [Problem(name, _line(lines, where), _shown(where), message) for where, message in found]
    return None, sorted(problems, key=lambda problem: problem.line or 0)


def _mistakes(data: Any, kind: Any, where: Place) -> Iterator[tuple[Place, str]]:
    """What keeps a table from being a struct of `kind`: fields unknown, missing or of the wrong type or range."""
    if not isinstance(data, dict):
        yield where, f"must be a table, is {_quoted(data)}"
        return
    fields = _fields(kind)
    for key in data:
        if key not in fields:
            yield (*where, key), _unknown(key, tuple(fields))
    for name, (hint, required) in fields.items():
        if name in data:
            yield from _mistakes_of_value(data[name], hint, (*where, name))
        elif required:
            yield (*where, name), "is required and missing"


def _mistakes_of_value(value: Any, hint: Any, where: Place) -> Iterator[tuple[Place, str]]:
    struct, repeated = _struct_in(hint)
    if struct and repeated and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _mistakes(item, struct, (*where, index))
        return
    if struct and not repeated:
        mistakes = list(_mistakes(value, struct, where))
        yield from mistakes
        if mistakes or struct is not Architecture:
            return
    try:
        converted = msgspec.convert(value, hint)
        if isinstance(converted, Architecture):
            tensors(converted)
    except QuantizeError as error:
        yield where, str(error)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `")
        steps = _steps(place.rstrip("`"))
        for step in steps:
            inner: Any = value
            value = inner[step]
        yield (*where, *steps), f"{_rule(hint, message)}, is {_quoted(value)}"


def _inconsistencies(family: Family) -> Iterator[tuple[Place, str]]:
    """What the types alone do not forbid."""
    seen: dict[str, int] = {}
    for i, entry in enumerate(family.model):
        where: Place = ("model", i)
        for field in ("id", "name"):
            value = getattr(entry, field)
            if seen.setdefault(f"{field}:{value.lower()}", i) != i:
                yield (*where, field), f"'{value}' is used twice in this file"
        for fact, key in entry.sources.items():
            if key not in family.sources:
                yield (*where, "sources", fact), f"source '{key}' is not in [sources]"
        for j, group in enumerate(entry.scores):
            if group.source not in family.sources:
                yield (*where, "scores", j, "source"), f"source '{group.source}' is not in [sources]"
        for j, variant in enumerate(entry.variants):
            if variant.quant not in PRESETS and variant.quant not in TENSOR_TYPES:
                yield (*where, "variants", j, "quant"), f"'{variant.quant}' is no quantization of the engine"
        if (entry.license is None) != (entry.license_class is None):
            yield (*where, "license"), "license and license_class go together: give both or neither"
        yield from _dimensions(entry, where)


def _dimensions(entry: Entry, where: Place) -> Iterator[tuple[Place, str]]:
    arch = entry.architecture
    if arch is None:
        if entry.unsupported is None:
            yield (*where, "architecture"), "is missing; without dimensions say why in 'unsupported'"
        return
    counted = parameter_count(arch)
    allowed = {"exact": 0.0, "within 0.5%": 0.005, "unverified": math.inf}[entry.parameters_check]
    if abs(counted - entry.parameters) > allowed * entry.parameters:
        yield (*where, "parameters"), f"is {entry.parameters:,}, but the tensors add up to {counted:,}"


@functools.cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """The fields of a struct: type hint, and whether it must be given."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: (hints[field.name], field.required) for field in msgspec.structs.fields(kind)}


def _struct_in(hint: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    """The struct a field holds, and whether it holds many: `X`, `X | None`, `tuple[X, ...]`."""
    repeated = typing.get_origin(hint) is tuple
    for part in typing.get_args(hint) or (hint,):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return part, repeated
    return None, False


def _rule(hint: Any, message: str) -> str:
    """What is allowed: msgspec's message in plain words, and the choices where there are some."""
    choices = [choice for choice in _leaves(hint) if isinstance(choice, str)]
    if choices:
        return f"must be one of {', '.join(choices)}"
    for meta in _leaves(hint):
        if isinstance(meta, msgspec.Meta) and meta.pattern and "regex" in message:
            return f"must be written like {meta.description}"
    return message.replace("Expected", "must be").replace("`", "").replace("Object", "table")


def _leaves(hint: Any) -> Iterator[Any]:
    parts: Sequence[Any] = (*typing.get_args(hint), *getattr(hint, "__metadata__", ()))
    for part in parts:
        yield part
        yield from _leaves(part)


def _unknown(key: str, known: tuple[str, ...]) -> str:
    import difflib

    near = difflib.get_close_matches(key, known, n=1)
    return "is not a field" + (
        f"; did you mean '{near[0]}'?" if near else f"; the fields are {', '.join(known)}"
    )


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _line(lines: dict[Place, int], where: Place) -> int:
    """The line of the nearest table or key that the file has on the way to `where`."""
    return next((lines[where[:end]] for end in range(len(where), 0, -1) if where[:end] in lines), 1)


def _shown(where: Place) -> str:
    """A path as people read it, without the model it is in, whose place the line gives."""
    steps = where[2:] if where[:1] == ("model",) and len(where) > 2 else where
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")


def _steps(place: str) -> Place:
    """msgspec's "$.scores[0].value" as ("scores", 0, "value")."""
    steps: list[str | int] = []
    for piece in place.replace("[", ".[").split(".")[1:]:
        if piece.startswith("["):
            if piece[1:-1].isdigit():
                steps.append(int(piece[1:-1]))
        elif piece:
            steps.append(piece)
    return tuple(steps)


def _syntax_problem(name: str, text: str, error: Exception) -> Problem:
    """tomllib says "... (at line 3, column 7)" or "(at end of document)"."""
    message, _, place = str(error).partition(" (at line ")
    line = int(place.split(",")[0]) if place else text.count("\n") + 1
    return Problem(name, line, "", f"not valid TOML: {message or 'nested too deep'}")
