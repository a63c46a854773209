"""`make locale`: find the strings that people read, bring the catalogs up to date and compile them.

    python -m advisor.making.locale            update .po files and compile them
    python -m advisor.making.locale missing    list what has no translation; exit code 1 if there is any

The catalogs are compiled into the repository, as the other tables are (docs/decisions/0001): whoever installs
needs no compiler of catalogs.
"""

from __future__ import annotations

import ast
import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from advisor.language import DOMAIN, FOLDER, LANGUAGES

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
PACKAGE = Path(__file__).parents[1]
HEADER = "# Translations of slm-advisor. 'make locale' adds what is new; msgstr is written by hand."


def extracted() -> Catalog:
    """Every marked string of the package, those inside f-strings too, which Babel's own extractor passes over."""
    catalog = Catalog(project=DOMAIN, charset="utf-8", fuzzy=False, header_comment=HEADER)
    for path in sorted(PACKAGE.rglob("*.py")):
        if "making" in path.relative_to(PACKAGE).parts:
            continue
        for message in marked_in(ast.parse(path.read_text("utf-8"))):
            # No line numbers: a line that moves must not change the catalog.
            catalog.add(message, locations=[(path.relative_to(PACKAGE.parent).as_posix(), 0)])
    return catalog


def marked_in(tree: ast.AST) -> Iterator[str | tuple[str, str]]:
    """The strings that a module marks, in their order; a pair for those that depend on a number."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        words = [
            each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
        ]
        if node.func.id in ("_", "marked") and words and words[0]:
            yield words[0]
        elif node.func.id == "plural" and len(words) >= 2:
            yield words[0], words[1]


def po_file(language: str) -> Path:
    """Where a language's translations are written by hand."""
    return FOLDER / language / "LC_MESSAGES" / f"{DOMAIN}.po"


def read_catalog(language: str) -> Catalog:
    """The translations of a language; empty where it has none yet."""
    path = po_file(language)
    if not path.exists():
        return Catalog(locale=language, project=DOMAIN, charset="utf-8", fuzzy=False, header_comment=HEADER)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def missing(language: str) -> list[str]:
    """Strings of the source without a translation, or with a doubtful one."""
    catalog = read_catalog(language)
    found = []
    for message in extracted():
        if not message.id:
            continue
        own = catalog.get(message.id)
        string: Any = None if own is None else own.string
        strings = [string] if isinstance(string, str) else list(string or ())
        if own is None or own.fuzzy or not strings or not all(strings):
            found.append(message.id if isinstance(message.id, str) else message.id[0])
    return found


def compiled(catalog: Catalog) -> bytes:
    """The catalog as gettext reads it."""
    file = io.BytesIO()
    catalog.creation_date = catalog.revision_date = BEGINNING  # the same strings make the same file
    write_mo(file, catalog)
    return file.getvalue()


def written(catalog: Catalog) -> bytes:
    """The catalog as people edit it: sorted by place in the source, without dates that change by themselves."""
    file = io.BytesIO()
    write_po(file, catalog, width=110, include_lineno=False, omit_header=False, ignore_obsolete=True)
    lines = file.getvalue().decode().splitlines(keepends=True)
    drop = (
        "Creation-Date",
        "Revision-Date",
        "Generated-By",
        "Last-Translator",
        "Language-Team",
        "Report-Msgid",
    )
    return "".join(line for line in lines if not any(word in line for word in drop)).encode()


def update(language: str) -> Catalog:
    """The language's catalog with exactly the strings of the source."""
    catalog = read_catalog(language)
    catalog.update(extracted(), no_fuzzy_matching=True)
    catalog.obsolete.clear()
    catalog.fuzzy = False
    catalog.header_comment = HEADER
    return catalog


def main(arguments: list[str]) -> int:
    languages = [language for language in LANGUAGES if language != "en"]
    if arguments == ["missing"]:
        gaps = {language: missing(language) for language in languages}
        for language, messages in gaps.items():
            for message in messages:
                print(f"{language}: {message!r}")
        return 1 if any(gaps.values()) else 0
    for language in languages:
        catalog = update(language)
        path = po_file(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(written(catalog))
        path.with_suffix(".mo").write_bytes(compiled(read_catalog(language)))
        print(f"wrote {path} and its .mo; {len(missing(language))} strings are not translated")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
