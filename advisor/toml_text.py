"""TOML as text: writing it in one stable form, and on which line each key of a document stands.

Python reads TOML and does not write it, and its reader gives no lines. Both are needed where people's files are
checked and models are added; both cover the TOML that catalog and device files use.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDTH = 110

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_KEY_PART = re.compile(r'\s*("(?:[^"\\]|\\.)*"|\'[^\']*\'|[A-Za-z0-9_-]+)\s*')
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}


def write_toml(document: Mapping[str, Any], comment: str = "") -> str:
    """A document as TOML: plain keys first, then tables, then arrays of tables; None is left out."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    body = "\n".join(_table(document, ()))
    return f"{head}{body.strip()}\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    inner = {}
    for key, value in table.items():
        if value is None:
            continue
        if _is_table(value) or _is_tables(value):
            inner[key] = value
        else:
            yield from _assignment(key, value)
    for key, value in inner.items():
        header = ".".join(_key(part) for part in (*path, key))
        for each in [value] if _is_table(value) else value:
            yield f"\n[{header}]" if _is_table(value) else f"\n[[{header}]]"
            yield from _table(each, (*path, key))


def _assignment(key: str, value: Any) -> Iterator[str]:
    line = f"{_key(key)} = {_value(value)}"
    if len(line) <= WIDTH or not isinstance(value, Sequence) or isinstance(value, str):
        yield line
    elif all(isinstance(item, Mapping) for item in value):
        yield f"{_key(key)} = ["
        yield from (f"  {_value(item)}," for item in value)
        yield "]"
    else:
        yield f"{_key(key)} = ["
        row = " "
        for item in value:
            text = f" {_value(item)},"
            if len(row) + len(text) > WIDTH:
                yield row
                row = " "
            row += text
        yield row
        yield "]"


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: Any) -> bool:
    """Arrays of tables that hold tables or arrays get headers; flat ones stay inline, one a line."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and bool(value)
        and all(isinstance(item, Mapping) for item in value)
        and any(isinstance(inner, Mapping | list | tuple) for item in value for inner in item.values())
    )


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    raise TypeError(f"TOML has no {type(value).__name__}")


def _string(text: str) -> str:
    return (
        '"'
        + "".join(_ESCAPES.get(c, c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}") for c in text)
        + '"'
    )


def key_lines(text: str) -> dict[tuple[str | int, ...], int]:
    """Line (from 1) of each table header and each key that begins a line, by its path.

    ("model", 2, "license") is `license` in the third [[model]]. Keys inside inline tables and arrays are found
    only when they begin a line of their own array element: `results[3]` is the fourth line of `results = [`.
    """
    lines: dict[tuple[str | int, ...], int] = {}
    counts: dict[tuple[str | int, ...], int] = {}
    table: tuple[str | int, ...] = ()
    depth = 0  # of brackets that a value left open
    open_key: tuple[str | int, ...] = ()
    item = 0
    quote = ""  # the delimiter of a multi-line string that is open
    for number, line in enumerate(text.split("\n"), start=1):
        if quote:
            if quote in line:
                quote = ""
            continue
        if depth:
            stripped = line.strip()
            if depth == 1 and stripped and stripped[0] not in "]#":
                lines[(*open_key, item)] = number
                item += 1
            depth += _nesting(line)
            continue
        header = line.lstrip()
        if header.startswith("["):
            table = _resolve(_key_path(header.lstrip("[")), counts, new=header.startswith("[["))
            lines[table] = number
            continue
        path, rest = _split_assignment(line)
        if not path:
            continue
        open_key = (*table, *path)
        lines[open_key] = number
        for delimiter in ('"""', "'''"):
            if rest.count(delimiter) % 2:
                quote = delimiter
        if not quote:
            depth, item = max(_nesting(rest), 0), 0
    return lines


def _resolve(
    path: list[str], counts: dict[tuple[str | int, ...], int], *, new: bool
) -> tuple[str | int, ...]:
    """A header's path with the number of the array element each part of it is in."""
    where: tuple[str | int, ...] = ()
    for i, part in enumerate(path):
        where = (*where, part)
        if i == len(path) - 1 and new:
            counts[where] = counts.get(where, -1) + 1
        if where in counts:
            where = (*where, counts[where])
    return where


def _key_path(text: str) -> list[str]:
    path: list[str] = []
    at = 0
    while match := _KEY_PART.match(text, at):
        part = match[1]
        path.append(_unquoted(part))
        at = match.end()
        if at >= len(text) or text[at] != ".":
            break
        at += 1
    return path


def _unquoted(part: str) -> str:
    if part[0] == '"' and "\\" in part:
        key: str = tomllib.loads(f"key = {part}")["key"]
        return key
    return part[1:-1] if part[0] in "\"'" else part


def _split_assignment(line: str) -> tuple[list[str], str]:
    at = 0
    while match := _KEY_PART.match(line, at):
        at = match.end()
        if at < len(line) and line[at] == ".":
            at += 1
            continue
        break
    else:
        return [], ""
    return (_key_path(line[:at]), line[at + 1 :]) if at < len(line) and line[at] == "=" else ([], "")


def _nesting(text: str) -> int:
    """Brackets opened less brackets closed, strings and comments left out."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', "", text).split("#")[0]
    return bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}")
