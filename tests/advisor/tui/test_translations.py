"""English and Japanese: nothing on a screen is left untranslated, and nothing that is translated is wrong."""

from __future__ import annotations

import ast
import gettext
import io
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from advisor import language
from advisor.language import LANGUAGES, preferred
from advisor.making import locale as making

TUI = Path(making.PACKAGE) / "tui"
OTHERS = [language_ for language_ in LANGUAGES if language_ != "en"]


@pytest.mark.parametrize("code", OTHERS)
def test_every_string_has_a_translation(code: str) -> None:
    """What the source marks is in the catalog, finished."""
    assert making.missing(code) == []


@pytest.mark.parametrize("code", OTHERS)
def test_the_catalogs_are_what_make_locale_writes(code: str) -> None:
    """The .po has exactly the strings of the source, and the .mo is compiled from it."""
    path = making.po_file(code)
    assert making.written(making.update(code)) == path.read_bytes(), "run 'make locale'"
    with path.with_suffix(".mo").open("rb") as file:
        shipped = gettext.GNUTranslations(file)
    fresh = gettext.GNUTranslations(io.BytesIO(making.compiled(making.read_catalog(code))))
    assert _strings(shipped) == _strings(fresh), "run 'make locale'"


@pytest.mark.parametrize("code", OTHERS)
def test_a_translation_fills_in_the_same_values(code: str) -> None:
    """A translation has the fields of its original, formatted alike, so that none is lost and none fails."""
    wrong = []
    for message in making.read_catalog(code):
        if not message.id:
            continue
        one = message.id if isinstance(message.id, str) else message.id[0]
        strings = [message.string] if isinstance(message.string, str) else message.string
        for translated in strings:
            if _fields(one) != _fields(translated):
                wrong.append((one, translated))
    assert wrong == []


def test_every_string_that_people_read_is_marked() -> None:
    """In the wizard's source, a string with a word in it goes through `_`, `marked` or `plural`."""
    found = [
        f"{path.relative_to(TUI)}:{line}: {text!r}"
        for path in sorted(TUI.rglob("*.py"))
        for line, text in _unmarked(ast.parse(path.read_text("utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "ja_JP.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LC_ALL": "en_GB.UTF-8", "LANGUAGE": "ja:en"}, "ja"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANGUAGE": "de:ja"}, "ja"),
        ({}, "en"),
    ],
)
def test_the_locale_chooses_the_language(environment: dict[str, str], expected: str) -> None:
    """The variables count in gettext's order; a language without a catalog is passed over."""
    assert preferred(environment) == expected


def test_the_command_line_stays_english_in_a_japanese_locale(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What scripts read is the same everywhere."""
    from advisor.cli.main import run

    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    assert run(["recommend", "--device", "Pixel 9", "--json"]) == 0
    assert '"generates ' in capsys.readouterr().out


def test_a_language_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="'xx'"):
        language.use("xx")


def _strings(catalog: gettext.GNUTranslations) -> dict[object, str]:
    """What a catalog says, without its header, which names the version of the compiler."""
    strings: dict[object, str] = vars(catalog)["_catalog"]
    return {message: translated for message, translated in strings.items() if message}


def _fields(text: str) -> list[tuple[str | None, str | None]]:
    return sorted((name, form) for _, name, form, _ in string.Formatter().parse(text) if name is not None)


# Two letters in a row: anything shorter is a mark.
_WORD = re.compile(r"[^\W\d_]{2,}")
# A name of a widget, an action, a key, a style: one word in lower case, or a call of such.
_NAME = re.compile(r"[-#.@\w]+(\(.*)?")
_ALLOWED = frozenset(
    {
        " GB",
        " GB/s",
        " GHz",
        " ms",
        "dim italic",
        "green+",
        "orange+",
        "Input, OptionList",
        " weights",
        "Ollama",
        "LM Studio",
    }
)
# Of these calls the arguments (from one place to another) are names in code.
_NAMES_IN_CALLS = {"Binding": (0, 2), "Step": (2, 4), "cast": (0, 1), "TypeVar": (0, 1)}
_NAMES_BY_KEYWORD = frozenset({"classes", "id", "variant", "action", "severity", "group", "justify", "style"})


def _unmarked(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Strings with a word in them that pass through none of the markers and are no names in code."""
    skipped: set[int] = set()

    def skip(*nodes: ast.AST | None) -> None:
        skipped.update(id(each) for node in nodes if node is not None for each in ast.walk(node))

    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in ("_", "marked", "plural"):
                skip(*node.args)
            if name in _NAMES_IN_CALLS:
                start, end = _NAMES_IN_CALLS[name]
                skip(*node.args[start:end])
            skip(*(each.value for each in node.keywords if each.arg in _NAMES_BY_KEYWORD))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id.endswith("CSS"):
                skip(node.value)
        elif isinstance(node, ast.Dict):
            skip(*node.keys)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skip(node.value)  # a docstring
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            text = node.value
            named = (_NAME.fullmatch(text) and not text[0].isupper()) or text == text.upper()
            if _WORD.search(text) and not named and text not in _ALLOWED:
                yield node.lineno, text
