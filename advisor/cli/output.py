"""The one way out: data on stdout, narration on stderr, one JSON document with its envelope.

Every JSON document starts with `schema`, `schema_version`, `tool_version` and `catalog_version`, so that a
script can tell what it reads and what it was made with.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

SCHEMA_VERSION = 1

# What names and files could do to a terminal: control characters but for line feed and tab, and marks that turn the
# direction of writing. The colours are those that rich sets.
_CONTROL = re.compile(r"(\x1b\[[\d;]*m)|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def tool_version() -> str:
    """The installed version of slm-advisor, or "0+unknown" in a tree that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("slm-advisor")
    except PackageNotFoundError:
        return "0+unknown"


def envelope(schema: str) -> dict[str, Any]:
    """The fields every document begins with; `schema` is a name `slm-advisor schema` knows."""
    from advisor.catalog import catalog_version

    return {
        "schema": f"slm-advisor/{schema}",
        "schema_version": SCHEMA_VERSION,
        "tool_version": tool_version(),
        "catalog_version": catalog_version(),
    }


def write_json(schema: str, body: Mapping[str, Any] | msgspec.Struct) -> None:
    """One indented JSON document on stdout: the envelope, then the fields of `body`."""
    fields = body if isinstance(body, Mapping) else msgspec.to_builtins(body)
    document = {**envelope(schema), **fields}
    text = msgspec.json.format(_encoded(document), indent=2).decode() + "\n"
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:  # JSON has a spelling for every character
        import json

        sys.stdout.write(json.dumps(json.loads(text), indent=2) + "\n")


def write_line(document: Mapping[str, Any] | msgspec.Struct) -> None:
    """A JSON document on a line of stdout, for answers that are streamed."""
    if sys.stdout is None:
        return
    text = _encoded(document).decode()
    try:
        sys.stdout.write(text + "\n")
    except UnicodeEncodeError:  # JSON has a spelling for every character
        import json

        sys.stdout.write(json.dumps(json.loads(text), separators=(",", ":")) + "\n")


def _encoded(document: Mapping[str, Any] | msgspec.Struct) -> bytes:
    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError:  # a file name that is not UTF-8
        import json

        plain = json.dumps(msgspec.to_builtins(document), ensure_ascii=False)
        return plain.encode("utf-8", "replace")


def write_text(text: str) -> None:
    """Text on stdout; characters that its encoding lacks are replaced instead of ending the program."""
    if sys.stdout is None:
        return
    text = _harmless(text, colours=sys.stdout.isatty())
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))


def _harmless(text: str, *, colours: bool = False) -> str:
    """Text in which control characters are spelled out ("\\x1b") and no longer obeyed."""
    return _CONTROL.sub(lambda match: match[0] if colours and match[1] else repr(match[0])[1:-1], text)


def narrate(text: str) -> None:
    """A line for people on stderr."""
    if sys.stderr is None:
        return
    text = _harmless(text)
    try:
        sys.stderr.write(text + "\n")
    except UnicodeEncodeError:
        sys.stderr.write(text.encode("ascii", "replace").decode("ascii") + "\n")
    except OSError:
        pass


def abandon_stdout() -> None:
    """Send what is left for stdout nowhere, so that Python does not fail on it again at shutdown (exit code 120)."""
    if sys.stdout is None:
        return
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = None


def write_error(
    message: str,
    code: int,
    *,
    as_json: bool,
    one_line: bool = False,
    nearest: Sequence[str] = (),
    usage: str | None = None,
) -> int:
    """Report an error the way the command was asked to report, and return its exit code.

    one_line: the document is a line, as those of a stream before it are.
    """
    if as_json:
        body = {"error": {"exit_code": code, "message": message, "nearest": list(nearest)}}
        try:
            if one_line:
                write_line({**envelope("error"), **body})
            else:
                write_json("error", body)
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError as error:
            narrate(f"slm-advisor: {message} (and stdout cannot be written: {error.strerror or error})")
            abandon_stdout()
        return code
    narrate(f"slm-advisor: {message}")
    if nearest:
        narrate("  nearest: " + ", ".join(nearest))
    if usage:
        narrate("  " + usage)
    return code
