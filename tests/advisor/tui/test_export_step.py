"""The last step: what is shown, copied and written, with and without a built file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from advisor.catalog import Model
from advisor.manifest import FILE_NAME, read_manifest
from advisor.tui.screens.export import ExportScreen
from quantize.hashes import sha256_of
from tests.advisor.tui.conftest import (
    Open,
    answered,
    choose,
    fixed_part,
    in_both,
    in_english,
    reads,
    said,
    shown,
    smollm2_at,
    take,
    until,
)

ROOM = {"size": (110, 40)}

NO_FILE = (
    "There is no file yet: the Build step makes one, f takes one that is here. The manifest can be had without "
    "it."
)
UNBUILT = "{label} was pinned before there was a file: build it, and pin the build to export it"


async def export_step(pilot: Pilot[Any]) -> ExportScreen:
    """Choose SmolLM2-135M, and wait until it is pinned."""
    screen = await smollm2_at(pilot, "6", ExportScreen)
    await until(pilot, lambda: screen._pinned is not None)
    return screen


@in_both
async def test_without_a_file_there_is_the_manifest_alone(wizard: Open, tmp_path: Path) -> None:
    """The manifest is written to the working folder; the ways that need a file say what is missing."""
    async with wizard().run_test(**ROOM) as pilot:
        screen = await export_step(pilot)
        assert reads(pilot, said(NO_FILE))
        await pilot.press("w")
        await until(pilot, lambda: (tmp_path / FILE_NAME).exists() and not screen._refused)
        assert read_manifest(tmp_path).file is None
        await pilot.press("down")
        await pilot.pause()
        assert reads(pilot, fixed_part(UNBUILT), "#content")
        assert not screen.check_action("copy", ())


async def test_a_build_is_exported_beside_its_file(wizard: Open, built: Path) -> None:
    """All five files are written there, and are what the core makes of the same manifest."""
    from advisor.export import PROGRAMS, export

    async with wizard().run_test(**ROOM) as pilot:
        screen = await export_step(pilot)
        assert "a" * 64 in shown(pilot)
        await pilot.press("a")
        await until(pilot, lambda: fixed_part("Written: {paths}") in screen._words)
    pinned = read_manifest(built)
    assert pinned.file is not None
    assert pinned.file.sha256 == "a" * 64
    for program in PROGRAMS:
        one = export(pinned, program)
        assert (built / one.name).read_text() == one.content


async def test_each_way_is_shown_and_copied(wizard: Open, built: Path) -> None:
    """What is on the screen is what goes to the clipboard."""
    app = wizard()
    async with app.run_test(**ROOM) as pilot:
        screen = await export_step(pilot)
        await pilot.press("c")
        assert screen._pinned is not None
        assert app.clipboard == screen._pinned.content.decode()
        assert '"schema_version"' in app.clipboard
        assert str(screen.query_one("#content", Static).content).endswith(app.clipboard)
        for words in ("exec llama-server", "PARAMETER num_ctx", "lms load", "LLAMA_ARG_MODEL"):
            await pilot.press("down", "c")
            await pilot.pause()
            assert words in shown(pilot)
            assert words in app.clipboard


async def test_what_is_there_is_written_over_only_on_request(wizard: Open, built: Path) -> None:
    """Somebody else's Modelfile is named, and stays until r."""
    refused = said(
        "{path} is there already, with other content; {remedy}",
        path=Path(built.name) / "Modelfile",
        remedy=said("r writes over it, o takes another folder"),
    )
    (built / "Modelfile").write_text("mine")
    async with wizard().run_test(**ROOM) as pilot:
        screen = await export_step(pilot)
        await pilot.press("a")
        await until(pilot, lambda: screen._words == refused)
        assert (built / "Modelfile").read_text() == "mine"
        assert not (built / FILE_NAME).exists()
        await pilot.press("r")
        await until(pilot, lambda: fixed_part("Written: {paths}") in screen._words)
        assert "FROM ./" in (built / "Modelfile").read_text()


@pytest.fixture
def as_the_file_is(few: tuple[Model, ...]) -> tuple[Model, ...]:
    """SmolLM2-135M at Q4_1 alone, of which there is a real file."""
    model = next(each for each in few if each.name == "SmolLM2-135M-Instruct")
    return (msgspec.structs.replace(model, variants=(model.variant("Q4_1"),)),)


@in_both
async def test_a_file_that_is_here_is_found_and_exported(
    wizard: Open, as_the_file_is: tuple[Model, ...], smollm2: Path, tmp_path: Path
) -> None:
    """Downloaded, not built: the manifest has its hash, and the other files lie beside it."""
    file = tmp_path / smollm2.name
    file.symlink_to(smollm2)
    async with wizard(models=as_the_file_is).run_test(**ROOM) as pilot:
        await answered(pilot)
        await pilot.press("6")
        await pilot.pause()
        screen = pilot.app.screen
        assert isinstance(screen, ExportScreen)
        await until(pilot, lambda: screen._pinned is not None and screen._pinned.file is not None)
        await pilot.press("a")
        await until(pilot, lambda: (tmp_path / "Modelfile").exists() and not screen._refused)
    pinned = read_manifest(tmp_path)
    assert pinned.file is not None
    assert pinned.file.sha256 == sha256_of(smollm2)
    assert f"FROM ./{smollm2.name}" in (tmp_path / "Modelfile").read_text()


@in_english
async def test_nothing_is_written_into_a_cache(
    wizard: Open,
    as_the_file_is: tuple[Model, ...],
    smollm2: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file in the Hub's cache stays alone there: what belongs beside it goes to the working folder, as is said."""
    cache = tmp_path / "hub"
    snapshot = cache / "models--HuggingFaceTB--SmolLM2-135M-Instruct-GGUF" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / smollm2.name).symlink_to(smollm2)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    async with wizard(models=as_the_file_is).run_test(**ROOM) as pilot:
        screen = await export_step(pilot)
        await until(pilot, lambda: screen._pinned is not None and screen._pinned.file is not None)
        assert "needs the model file beside it" in screen._words
        await pilot.press("a")
        await until(pilot, lambda: "Written" in screen._words)
    assert [path.name for path in snapshot.iterdir()] == [smollm2.name]
    assert "FROM ./" in (tmp_path / "Modelfile").read_text()
    assert (tmp_path / FILE_NAME).exists()


@in_english
async def test_a_folder_that_cannot_be_written_to_is_named(
    wizard: Open, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the system says, and the key that takes another one."""
    import advisor.export

    def full(path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(advisor.export, "write_whole", full)
    async with wizard().run_test(**ROOM) as pilot:
        screen = await export_step(pilot)
        await pilot.press("a")
        await until(pilot, lambda: "No space left on device" in screen._words)
        assert "o takes another folder" in screen._words


async def test_a_file_of_the_users_own_choice_must_be_the_chosen_deployment(
    wizard: Open, few: tuple[Model, ...], as_the_file_is: tuple[Model, ...], smollm2: Path
) -> None:
    """Another quantization is refused with both names; the right one is taken from wherever it lies."""
    async with wizard().run_test(**ROOM) as pilot:
        screen = await export_step(pilot)
        await take(pilot, "f", smollm2)
        words = "{path} is {label}, and another deployment is chosen: choose its row on the models screen"
        refused = said(words, path=smollm2, label="SmolLM2-135M-Instruct:Q4_1")
        await until(pilot, lambda: screen._words == refused)
        assert screen._pinned is None
    async with wizard(models=as_the_file_is).run_test(**ROOM) as pilot:
        screen = await export_step(pilot)
        await take(pilot, "f", smollm2)
        await until(pilot, lambda: screen._pinned is not None and screen._pinned.file == smollm2)


async def test_a_build_whose_file_has_another_size_is_refused(wizard: Open, built: Path) -> None:
    """The core's sentence is shown, and the wizard stays."""
    app = wizard()
    async with app.run_test(**ROOM) as pilot:
        await answered(pilot)
        file = built / f"{built.name}.gguf"
        file.write_bytes(b"others")
        await choose(pilot, "smollm2-135m", "6")
        screen = pilot.app.screen
        assert isinstance(screen, ExportScreen)
        words = "{path} has {size} bytes, and {expected} when it was built: build it again"
        await until(pilot, lambda: fixed_part(words) in screen._words)
        assert file.name in screen._words


async def test_another_folder_is_written_to(wizard: Open, built: Path, tmp_path: Path) -> None:
    """o takes a folder; that the model file must be beside what is written there is said."""
    other = tmp_path / "elsewhere"
    other.mkdir()
    async with wizard().run_test(**ROOM) as pilot:
        screen = await export_step(pilot)
        await take(pilot, "o", other)
        assert reads(pilot, said("w writes to {folder}.", folder=other))
        words = "What is written there needs the model file beside it: {path}"
        assert reads(pilot, said(words, path=Path(built.name) / f"{built.name}.gguf"))
        await pilot.press("down", "down", "w")
        await until(pilot, lambda: (other / "Modelfile").exists())
        await until(pilot, lambda: screen._words == said("Written: {paths}", paths=other / "Modelfile"))
    assert [path.name for path in other.iterdir()] == ["Modelfile"]
    assert not (built / "Modelfile").exists()
