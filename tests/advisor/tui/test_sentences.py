"""Sentences of the core that reach a screen: found again in what was said, and still said that way by the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from advisor import language
from advisor.sentences import SENTENCES, translated
from tests.advisor.tui.conftest import Open, answered, shown, until

ROOT = Path(__file__).parents[3]
SAID_TO_PEOPLE = ("profiles/noise.py", "advisor/preflight.py", "quantize/room.py")
"""Modules all of whose sentences of four words or more somebody at the wizard may meet."""


def said_in(path: Path) -> Iterator[str]:
    """The texts of a module, docstrings aside, with {} for each value in them."""
    tree = ast.parse(path.read_text("utf-8"))
    aside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.Expr)
        for part in ast.walk(node)
        if part is not node and (isinstance(node, ast.JoinedStr) or part is node.value)
        if not (isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant))
    }
    for node in ast.walk(tree):
        if id(node) in aside and not isinstance(node, ast.JoinedStr):
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(each.value if isinstance(each, ast.Constant) else "{}" for each in node.values)


def bare(sentence: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", sentence)


def test_every_sentence_is_still_said() -> None:
    """What the source words differently now would no longer be translated."""
    said = {
        text
        for package in ("profiles", "quantize", "advisor")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "sentences.py"
        for text in said_in(path)
    }
    assert [sentence for sentence in SENTENCES if bare(sentence) not in said] == []


def test_what_is_said_to_people_is_in_the_list() -> None:
    """A new sentence in a module whose words reach the screen must be translated."""
    known = {bare(sentence) for sentence in SENTENCES}
    missing = [
        (name, text)
        for name in SAID_TO_PEOPLE
        for text in said_in(ROOT / name)
        if text.count(" ") >= 3 and text not in known
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("warming up", "準備運転中"),
        ("round 2 of 3", "3 回中 2 回目"),
        (
            "this machine is too busy to measure: other programs took 1.5 of 2 CPUs, 40% of the time of 2 threads: "
            "python3 (pid 7) 80%. Wait for it or close it, then try again",
            "このマシンは今、計測できないほど混んでいます: 他のプログラムが 2 CPU のうち 1.5 を使い、",
        ),
        (
            "the disk at /mnt became full (the engine says: iostream error), and nothing that was begun is left on it: "
            "free some, or give --out on another disk",
            "/mnt のディスクがいっぱいになりました (the engine says: iostream error)。",
        ),
        ("nobody ever said this", "nobody ever said this"),
    ],
)
def test_a_sentence_is_made_again_with_its_values(said: str, expected: str) -> None:
    """Numbers and names stay; what is not known stays as it is; English is left alone."""
    assert translated(said) == said
    language.use("ja")
    assert translated(said).startswith(expected)
    assert "other programs" not in translated(said)


@pytest.mark.parametrize("code", ["ja"])
async def test_what_is_missing_of_a_device_is_said_in_japanese(wizard: Open) -> None:
    """The notes of a device of the library."""
    async with wizard(device="Pixel 9").run_test(size=(100, 40)) as pilot:
        await answered(pilot)
        await until(pilot, lambda: "実機に聞かないと分かりません" in shown(pilot))
