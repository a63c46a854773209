"""The documentation says what the program does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from advisor.cli.main import COMMANDS
from advisor.making.reference import PAGE, page
from profiles.device import Device

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_reference_of_the_command_line_is_current() -> None:
    """It is what the program's help says; `make reference` writes it."""
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    """Every relative link and image of a page exists."""
    for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("#"):
            assert (file.parent / target.split("#")[0]).exists(), target


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_that_are_shown_exist(file: Path) -> None:
    """`slm-advisor WORD` in a page names a command, and `make WORD` a target."""
    text = file.read_text(encoding="utf-8")
    for word in re.findall(r"(?:^|[`$(] ?)slm-advisor ([a-z]+)", text, re.MULTILINE):
        assert word in COMMANDS, word
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for word in re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE):
        assert word in targets, word


def test_the_device_file_of_the_guide_is_a_device_file() -> None:
    """The example parses with the struct that reads device files."""
    text = (ROOT / "docs/how-to/device-file.md").read_text(encoding="utf-8")
    example = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert example is not None
    device = msgspec.convert(json.loads(example[1]), Device)
    assert device.memory.total_bytes == 4 << 30
