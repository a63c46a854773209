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
from advisor.local_files import kept_by_a_program
from advisor.sentences import translated
from advisor.tui.messages import DeploymentPinned, ExportsWritten, PinningFailed, PinningProgress
from advisor.tui.screens.base import StepScreen
from advisor.tui.work.exporting import MANIFEST, Pinned, Subject, pin_here, write_here
from profiles.engine.stop import Stop

if TYPE_CHECKING:
    from advisor.candidates import Candidate

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
        "and belong beside it, so they need a file: one that the Build step made, that the Try step ran, or that was "
        "found in the usual folders; f takes another.\n\n"
        "Copying uses the terminal's clipboard, which some terminals do not offer; writing always works."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "copy", marked("Copy")),
        Binding("w", "write", marked("Write")),
        Binding("a", "write_all", marked("Write all")),
        Binding("f", "file", marked("File")),
        Binding("o", "folder", marked("Folder")),
        Binding("r", "replace", marked("Write over")),
    ]
    DEFAULT_CSS = """
    ExportScreen #chosen { padding: 0 1; height: auto; text-style: bold; color: $primary; margin-top: 1; }
    ExportScreen #words { padding: 0 1; height: auto; margin-bottom: 1; }
    ExportScreen #sides { height: 1fr; }
    ExportScreen OptionList { width: 18; height: 100%; }
    ExportScreen VerticalScroll { width: 1fr; height: 100%; padding: 0 1; }
    ExportScreen #content { height: auto; }
    ExportScreen.-flat #chosen { margin-top: 0; }
    ExportScreen.-flat #words { display: none; }
    ExportScreen.-tiny #sides { layout: vertical; }
    ExportScreen.-tiny OptionList { width: 100%; height: 5; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._of: Subject | None = None  # what is pinned, or being pinned
        self._stop = Stop()
        self._pinned: Pinned | None = None
        self._given: dict[tuple[str, str], Path] = {}  # files that the user chose, by model and quantization
        self._out: Path | None = None
        self._refused: tuple[str, ...] = ()  # what was not written, since something else is there
        self._words = ""

    def body(self) -> Iterable[Widget]:
        yield Static("", id="chosen", markup=False)
        yield Static("", id="words", markup=False)
        yield Horizontal(
            OptionList(*(Option(_(title), way) for way, title in WAYS.items()), markup=False),
            VerticalScroll(Static("", id="content", markup=False)),
            id="sides",
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
        ranking, candidate = wizard.ranking, self._candidate()
        if ranking is None or candidate is None:
            self._of, self._pinned, self._words = None, None, ""
            return
        variant = (candidate.model.id, candidate.variant.quant)
        subject = Subject(
            ranking=ranking,
            candidate=candidate,
            built=wizard.built_of(candidate),
            given=self._given.get(variant),
            files=wizard.files_of(candidate) or (),
            bench=wizard.benched.get(variant),
        )
        if self._of is not None and _same(self._of, subject):
            return
        self._stop()  # what was being pinned before
        stop = self._stop = Stop()
        self._of, self._pinned, self._out, self._refused = subject, None, None, ()
        self._words = ""
        self.run_worker(lambda: pin_here(subject, stop, self.post_message), thread=True, group="pinning")

    def _candidate(self) -> Candidate | None:
        ranking, chosen = self.wizard.ranking, self.wizard.chosen
        return None if ranking is None or chosen is None else ranking.candidate(chosen)

    def on_unmount(self) -> None:
        self._stop()

    def _show_way(self) -> None:
        content, pinned, way = self.query_one("#content", Static), self._pinned, self._way
        if pinned is None:
            content.update("")
        elif way == MANIFEST:
            content.update(f"{pinned.text.rstrip()}\n\n{pinned.content.decode()}")
        elif (one := pinned.of(way)) is None:
            content.update(pinned.obstacle or "")
        else:
            notes = [_("not in it: {what}").format(what=translated(text)) for text in one.left_out]
            run = _("run in its folder: {command}").format(command=one.run)
            content.update("\n".join([one.content, run, *notes]))

    @property
    def _way(self) -> str:
        place = self.query_one(OptionList).highlighted
        return list(WAYS)[place or 0]

    @property
    def _folder(self) -> Path:
        """Where it is written: beside the model file, unless that lies in a cache."""
        if self._out is not None:
            return self._out
        file = None if self._pinned is None else self._pinned.file
        return Path() if file is None or kept_by_a_program(file) else file.parent

    def _elsewhere(self) -> str:
        """What to know where the model file is not in the folder that is written to."""
        file = None if self._pinned is None else self._pinned.file
        if file is None or file.parent.absolute() == self._folder.absolute():
            return ""
        return " " + _("What is written there needs the model file beside it: {path}").format(path=file)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        pinned = self._pinned
        if action in ("copy", "write"):
            return pinned is not None and (self._way == MANIFEST or pinned.of(self._way) is not None)
        if action in ("write_all", "folder"):
            return pinned is not None
        if action == "file":
            return self._of is not None
        if action == "replace":
            return bool(self._refused)
        return True

    def on_option_list_option_highlighted(self, _event: OptionList.OptionHighlighted) -> None:
        self._show_way()
        self.query_one(VerticalScroll).scroll_home(animate=False)
        self.refresh_bindings()

    def on_deployment_pinned(self, message: DeploymentPinned) -> None:
        self._pinned = message.pinned
        words = _("c copies what is shown, w writes it to {folder}.").format(folder=self._folder.absolute())
        self._words = words + self._elsewhere()
        if message.pinned.obstacle is not None:
            self._words = _(
                "There is no file yet: the Build step makes one, f takes one that is here. The manifest can be had "
                "without it."
            )
        self.show()

    def on_pinning_progress(self, message: PinningProgress) -> None:
        self._tell(message.words)

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

    def action_file(self) -> None:
        from advisor.tui.screens.choose_file import ChooseFile

        candidate = self._candidate()
        if candidate is None:
            return
        variant = (candidate.model.id, candidate.variant.quant)

        def chosen(path: object) -> None:
            if isinstance(path, str):
                self._given[variant] = Path(path)
                self._of = None
                self.show()

        title = _("A GGUF file, such as {name}").format(
            name=f"{candidate.model.name}-{candidate.variant.quant}.gguf"
        )
        offered = tuple(str(path) for path in self.wizard.files_of(candidate) or ())
        self.app.push_screen(ChooseFile(title, (".gguf",), offered), chosen)

    def action_folder(self) -> None:
        from advisor.tui.screens.choose_file import ChooseFile

        def chosen(path: object) -> None:
            if isinstance(path, str):
                self._out = Path(path)
                self._refused = ()
                self._tell(_("w writes to {folder}.").format(folder=self._out) + self._elsewhere())

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
            if not message.in_the_way:
                self._refused = ()
            self._tell(message.problem.message)
            return
        self._refused = ()
        self._tell(_("Written: {paths}").format(paths=", ".join(str(path) for path in message.paths)))

    def _tell(self, words: str) -> None:
        self._words = words
        self.query_one("#words", Static).update(words)
        self.refresh_bindings()


def _same(one: Subject, other: Subject) -> bool:
    """Whether the manifest would be the same; rankings, which are large, by identity."""
    return (
        one.ranking is other.ranking
        and one.candidate is other.candidate
        and (one.built, one.given, one.files, one.bench)
        == (other.built, other.given, other.files, other.bench)
    )
