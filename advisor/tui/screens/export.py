"""The last step: what the deployment's manifest holds, and the files with which other programs run it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from advisor.language import _, marked
from advisor.tui.messages import DeploymentPinned, ExportsWritten, PinningFailed
from advisor.tui.screens.base import StepScreen
from advisor.tui.work.exporting import MANIFEST, Pinned, pin_here, write_here

if TYPE_CHECKING:
    from advisor.tui.state import Built, Ranking

WAYS = {
    MANIFEST: marked("Manifest"),
    "llama-server": "llama-server",
    "ollama": "Ollama",
    "lm-studio": "LM Studio",
    "env": marked("Environment"),
}


class ExportScreen(StepScreen):
    """Look at each way out, copy it, or write it beside the model file."""

    STEP = "export"
    HELP = marked(
        "The manifest pins the deployment: which file, with which settings, for which device, what it should do and "
        "what must hold where it runs. 'slm-advisor verify' holds a target against it.\n\n"
        "The others are what a program needs to run it so: a script for llama-server, a Modelfile for Ollama, a "
        "script for LM Studio, variables for llama-server in a container. They name the model file without a folder "
        "and belong beside it, so they need a file: the Build step makes one.\n\n"
        "Copying uses the terminal's clipboard, which some terminals do not offer; writing always works."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "copy", marked("Copy")),
        Binding("w", "write", marked("Write")),
        Binding("a", "write_all", marked("Write all")),
        Binding("o", "folder", marked("Folder")),
        Binding("r", "replace", marked("Write over")),
    ]
    DEFAULT_CSS = """
    ExportScreen #chosen { padding: 0 1; height: auto; text-style: bold; color: $primary; margin-top: 1; }
    ExportScreen #words { padding: 0 1; height: auto; margin-bottom: 1; }
    ExportScreen Horizontal { height: 1fr; }
    ExportScreen OptionList { width: 18; height: 100%; }
    ExportScreen VerticalScroll { width: 1fr; height: 100%; padding: 0 1; }
    ExportScreen #content { height: auto; }
    ExportScreen.-flat #chosen { margin-top: 0; }
    ExportScreen.-flat #words { display: none; }
    ExportScreen.-tiny Horizontal { layout: vertical; }
    ExportScreen.-tiny OptionList { width: 100%; height: 5; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._of: tuple[Ranking, str, Built | None] | None = None  # what is pinned, or being pinned
        self._pinned: Pinned | None = None
        self._out: Path | None = None
        self._refused: tuple[str, ...] = ()  # what was not written, since something else is there
        self._words = ""

    def body(self) -> Iterable[Widget]:
        yield Static("", id="chosen", markup=False)
        yield Static("", id="words", markup=False)
        yield Horizontal(
            OptionList(*(Option(_(title), way) for way, title in WAYS.items()), markup=False),
            VerticalScroll(Static("", id="content", markup=False)),
        )

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(OptionList).highlighted = 0
        self.query_one(OptionList).focus()

    async def retranslate(self) -> None:
        place = self.query_one(OptionList).highlighted
        await super().retranslate()
        self.query_one(OptionList).highlighted = place

    # --- what is shown ----------------------------------------------------------------------------------------

    def show(self) -> None:
        self._follow()
        label = None if self._of is None else self._pinned and self._pinned.manifest.label
        self.query_one("#chosen", Static).update(
            _("No model is chosen: the models screen has the list.") if self._of is None else label or "…"
        )
        self.query_one("#words", Static).update(self._words)
        self._show_way()
        self.refresh_bindings()

    def _follow(self) -> None:
        """Pin what is chosen, once."""
        wizard = self.wizard
        ranking, chosen = wizard.ranking, wizard.chosen
        candidate = None if ranking is None or chosen is None else ranking.candidate(chosen)
        if ranking is None or chosen is None or candidate is None:
            self._of, self._pinned, self._words = None, None, ""
            return
        built = wizard.built_of(candidate)
        if self._of is not None and self._of == (ranking, chosen, built):
            return
        self._of, self._pinned, self._out, self._refused = (ranking, chosen, built), None, None, ()
        self._words = ""
        self.run_worker(
            lambda: pin_here(ranking, candidate, built, self.post_message),
            thread=True,
            group="pinning",
            exclusive=True,
        )

    def _show_way(self) -> None:
        content, pinned, way = self.query_one("#content", Static), self._pinned, self._way
        if pinned is None:
            content.update("")
        elif way == MANIFEST:
            content.update(pinned.text)
        elif (one := pinned.of(way)) is None:
            content.update(pinned.obstacle or "")
        else:
            notes = [_("not in it: {what}").format(what=text) for text in one.left_out]
            run = _("run in its folder: {command}").format(command=one.run)
            content.update("\n".join([one.content, run, *notes]))

    @property
    def _way(self) -> str:
        place = self.query_one(OptionList).highlighted
        return list(WAYS)[place or 0]

    @property
    def _folder(self) -> Path:
        if self._out is not None:
            return self._out
        built = None if self._of is None else self._of[2]
        return Path() if built is None else built.folder

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        pinned = self._pinned
        if action in ("copy", "write"):
            return pinned is not None and (self._way == MANIFEST or pinned.of(self._way) is not None)
        if action in ("write_all", "folder"):
            return pinned is not None
        if action == "replace":
            return bool(self._refused)
        return True

    def on_option_list_option_highlighted(self, _event: OptionList.OptionHighlighted) -> None:
        self._show_way()
        self.query_one(VerticalScroll).scroll_home(animate=False)
        self.refresh_bindings()

    def on_deployment_pinned(self, message: DeploymentPinned) -> None:
        self._pinned = message.pinned
        self._words = _("c copies what is shown, w writes it to {folder}.").format(
            folder=self._folder.absolute()
        )
        if message.pinned.obstacle is not None:
            self._words = _(
                "There is no file yet: the Build step makes one. The manifest can be had without it."
            )
        self.show()

    def on_pinning_failed(self, message: PinningFailed) -> None:
        self._words = message.problem.message
        self.show()

    # --- actions ----------------------------------------------------------------------------------------------

    def action_copy(self) -> None:
        pinned, way = self._pinned, self._way
        if pinned is None:
            return
        one = pinned.of(way)
        text = pinned.content.decode() if way == MANIFEST else "" if one is None else one.content
        self.app.copy_to_clipboard(text)
        self._tell(_("Copied: {what}.").format(what=_(WAYS[way])))

    def action_write(self) -> None:
        self._write((self._way,), replace=False)

    def action_write_all(self) -> None:
        self._write(tuple(WAYS), replace=False)

    def action_replace(self) -> None:
        self._write(self._refused, replace=True)

    def action_folder(self) -> None:
        from advisor.tui.screens.choose_file import ChooseFile

        def chosen(path: object) -> None:
            if isinstance(path, str):
                self._out = Path(path)
                self._refused = ()
                self._tell(_("w writes to {folder}.").format(folder=self._out))

        self.app.push_screen(ChooseFile(_("The folder to write to"), ("/",), folders=True), chosen)

    def _write(self, ways: Sequence[str], *, replace: bool) -> None:
        pinned, folder = self._pinned, self._folder
        if pinned is None:
            return
        self._refused = tuple(ways)
        self.run_worker(
            lambda: write_here(pinned, ways, folder, replace, self.post_message), thread=True, group="writing"
        )

    def on_exports_written(self, message: ExportsWritten) -> None:
        if message.problem is not None:
            self._tell(
                message.problem.message + "\n" + _("r writes over what is there, o takes another folder.")
            )
            return
        self._refused = ()
        self._tell(_("Written: {paths}").format(paths=", ".join(str(path) for path in message.paths)))

    def _tell(self, words: str) -> None:
        self._words = words
        self.query_one("#words", Static).update(words)
        self.refresh_bindings()
