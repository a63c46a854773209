"""The fifth step: build the chosen variant here, with what it needs said first and each stage shown."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.table import Table
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.containers import HorizontalGroup, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, Static

from advisor.candidates import Candidate
from advisor.language import _, marked
from advisor.sentences import translated
from advisor.tui.messages import BuildDone, BuildFailed, BuildPlanned, BuildProgress
from advisor.tui.screens.base import StepScreen
from advisor.tui.state import Built
from advisor.tui.widgets.stages import Stages
from advisor.tui.work.building import Plan, build_here, plan_here
from profiles.engine.stop import Stop
from profiles.text import amount, seconds

if TYPE_CHECKING:
    from quantize.sources.source import Source

ENDINGS = (".gguf",)


class BuildScreen(StepScreen):
    """Choose the source and the folder, see what it takes, start; escape stops it and leaves nothing."""

    STEP = "build"
    HELP = marked(
        "This makes the file of the variant that the models screen has chosen, from full-precision weights: an F16, "
        "BF16 or F32 GGUF, a Hugging Face folder, or what the Hub has. Choosing the source shows first what each "
        "stage takes; nothing is downloaded until you start.\n\n"
        "Every tensor of the result is held against the catalog, and what the quantization cost is measured against "
        "the source. All is made in a hidden folder that takes its name only when it is whole: if you stop, or if it "
        "fails, nothing is left. Downloads stay in the Hub's cache, and go on where they ended.\n\n"
        "Going to another screen does not stop a build."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h", "hub", marked("From the Hub")),
        Binding("f", "file", marked("From a file")),
        Binding("o", "folder", marked("Folder")),
        Binding("s", "start", marked("Start")),
        Binding("r", "replace", marked("Build again")),
        Binding("escape", "stop", marked("Stop"), key_display="esc"),
        Binding("escape", "app.go(-1)", marked("Back"), show=False),
    ]
    DEFAULT_CSS = """
    BuildScreen #chosen { padding: 0 1; height: auto; text-style: bold; color: $primary; margin-top: 1; }
    BuildScreen #places { padding: 0 1; height: auto; }
    BuildScreen #actions { padding: 0 1; height: auto; margin: 1 0; }
    BuildScreen #actions Button { margin-right: 1; }
    BuildScreen #words, BuildScreen #result, BuildScreen Stages { padding: 0 1; height: auto; }
    BuildScreen #words { margin-bottom: 1; }
    BuildScreen VerticalScroll { height: 1fr; }
    BuildScreen.-flat #chosen { margin-top: 0; }
    BuildScreen.-flat #actions, BuildScreen.-flat #places { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._out = Path()
        self._stop: Stop | None = None
        self._building = False
        self._subject_now: tuple[str, str] | None = None  # model and quantization that all below is about
        self._model_name = ""
        self._plan: Plan | None = None
        self._replace = False
        self._words = ""  # what goes on, or how it ended; a marked sentence is translated where it is shown

    def body(self) -> Iterable[Widget]:
        yield VerticalScroll(
            Static("", id="chosen", markup=False),
            Static("", id="places", markup=False),
            HorizontalGroup(
                Button(_("From the Hub"), id="hub", compact=True, action="screen.hub"),
                Button(_("From a file …"), id="file", compact=True, action="screen.file"),
                Button(_("Folder …"), id="folder", compact=True, action="screen.folder"),
                Button(_("Start"), id="start", variant="primary", compact=True, action="screen.start"),
                id="actions",
            ),
            Static("", id="words", markup=False),
            Stages(),
            Static("", id="result"),
        )

    async def retranslate(self) -> None:
        before = self.query_one(Stages)
        await super().retranslate()
        self.query_one(Stages).go_on_from(before)

    # --- what is shown ----------------------------------------------------------------------------------------

    def show(self) -> None:
        candidate = self._candidate()
        if self._stop is None:
            self._follow(candidate)
        target = self._target(candidate)
        plan = self._plan
        self.query_one("#chosen", Static).update(
            _("No model is chosen: the models screen has the list.")
            if self._subject_now is None
            else ":".join((self._model_name, self._subject_now[1]))
        )
        source = _("not chosen yet") if plan is None else _described(plan.order.source)
        self.query_one("#places", Static).update(
            ""
            if target is None
            else _("from    {source}").format(source=source) + "\n" + _("folder  {path}").format(path=target)
        )
        self.query_one("#words", Static).update(_(self._words) or self._advice())
        built = None if self._subject_now is None else self.wizard.built.get(self._subject_now)
        self.query_one("#result", Static).update(
            _facts(built) if built is not None and not self._building and not self._replace else Text()
        )
        for button in self.query(Button):
            button.disabled = not self.check_action(str(button.id), ())
        self.query_one(Stages).draw()
        self.refresh_bindings()

    def _follow(self, candidate: Candidate | None) -> None:
        """Another model was chosen: what was planned for the one before does not count."""
        subject = None if candidate is None else (candidate.model.id, candidate.variant.quant)
        if subject == self._subject_now:
            return
        self._subject_now, self._plan, self._replace = subject, None, False
        self._model_name = "" if candidate is None else candidate.model.name
        self.query_one(Stages).plan(None)
        self._words = ""
        if candidate is not None:
            self.wizard.built_of(candidate, self._out)

    def _advice(self) -> str:
        """What can be done next."""
        if self._subject_now is None:
            return ""
        if self._plan is not None:
            return self._needed(self._plan)
        built = self.wizard.built.get(self._subject_now)
        if built is not None and not self._replace:
            return _(
                "It is built already, in {path}. n goes on with it, r builds it again in its place."
            ).format(path=built.folder)
        if self.wizard.need.offline:
            return _offline()
        return _("Choose where the weights come from: h for the Hub, f for a file or folder here.")

    def _candidate(self) -> Candidate | None:
        ranking, chosen = self.wizard.ranking, self.wizard.chosen
        return None if ranking is None or chosen is None else ranking.candidate(chosen)

    def _target(self, candidate: Candidate | None) -> Path | None:
        from advisor.build import build_folder

        if self._plan is not None:
            return self._plan.order.target
        if candidate is None:
            return None
        return build_folder(candidate.model, candidate.variant.quant, self._out)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        idle = self._stop is None and self._subject_now is not None
        built = self._subject_now in self.wizard.built and not self._replace
        if action in ("hub", "file", "folder"):
            if action == "hub" and self.wizard.need.offline:
                return False
            return idle and not built
        if action == "start":
            return idle and not built and self._plan is not None and self._plan.obstacle is None
        if action == "replace":
            return idle and built
        return self._stop is not None if action == "stop" else True

    def on_resize(self, _event: events.Resize) -> None:
        for stages in self.query(Stages):
            stages.draw()

    # --- actions ----------------------------------------------------------------------------------------------

    def action_hub(self) -> None:
        self._ask(None)

    def action_file(self) -> None:
        from advisor.tui.screens.choose_file import ChooseFile

        candidate = self._candidate()
        if candidate is None:
            return
        offered = tuple(str(path) for path in self.wizard.files_of(candidate, "F16") or ())

        def chosen(path: object) -> None:
            if isinstance(path, str):
                self._ask(Path(path))

        title = _("A full-precision GGUF, or a Hugging Face folder")
        self.app.push_screen(ChooseFile(title, ENDINGS, offered, folders=True), chosen)

    def action_folder(self) -> None:
        from advisor.tui.screens.choose_file import ChooseFile

        def chosen(path: object) -> None:
            if not isinstance(path, str):
                return
            self._out = Path(path)
            self._subject_now = None
            self.show()

        self.app.push_screen(ChooseFile(_("The folder to build in"), ("/",), folders=True), chosen)

    def action_replace(self) -> None:
        """What is there stays until the new build is whole."""
        subject = self._subject_now
        if subject is None:
            return
        self._out = self.wizard.built[subject].folder.parent
        self._replace = True
        self._plan, self._words = None, ""
        self.query_one(Stages).plan(None)
        self.show()

    def action_start(self) -> None:
        plan = self._plan
        if plan is None or self._stop is not None:
            return
        stop = self._begin(_("building …"))
        self._building = True
        self.query_one(Stages).begin()
        self.run_worker(
            lambda: build_here(plan.order, stop, self.post_message), thread=True, group="building"
        )
        self.show()

    def action_stop(self) -> None:
        if self._stop is not None:
            self._tell(_("stopping …"))
            self._stop()

    def on_unmount(self) -> None:
        if self._stop is not None:
            self._stop()

    # --- the run ----------------------------------------------------------------------------------------------

    def _ask(self, source: Path | None) -> None:
        """Plan a build from that source."""
        candidate = self._candidate()
        if candidate is None or self._stop is not None:
            return
        from advisor.build import BuildOptions
        from profiles.engine.installed import installed_engine

        if installed_engine() is None:
            from advisor.tui.screens.trial import missing_engine

            self._tell(missing_engine().message)
            return
        self._plan = None
        self.query_one(Stages).plan(None)
        stop = self._begin(_("looking what the build needs …"))
        options = BuildOptions(source=source, out=self._out, replace=self._replace)
        self.run_worker(
            lambda: plan_here(candidate, options, stop, self.post_message), thread=True, group="building"
        )
        self.show()

    def _begin(self, words: str) -> Stop:
        self._stop = Stop()
        self._words = words
        return self._stop

    def on_build_planned(self, message: BuildPlanned) -> None:
        plan = self._plan = message.plan
        self.query_one(Stages).plan(plan.needs)
        self._end("")

    def _needed(self, plan: Plan) -> str:
        """What the build takes of what there is, and what to know of its source."""
        needs = plan.needs
        sizes = _("result {result}, disk {disk} of {free} free, memory {memory}").format(
            result=amount(needs.result_bytes),
            disk=amount(needs.disk_bytes),
            free=amount(needs.disk_free_bytes),
            memory=amount(needs.memory_bytes),
        )
        if needs.memory_free_bytes is not None:
            sizes += _(" of {free} free").format(free=amount(needs.memory_free_bytes))
        if needs.download_bytes:
            sizes += _(", download {size}").format(size=amount(needs.download_bytes))
        lines = [translated(plan.obstacle), sizes] if plan.obstacle else [sizes + _(". s starts.")]
        return "\n".join([*lines, *(f"· {translated(note)}" for note in plan.order.source.notes)])

    def on_build_progress(self, message: BuildProgress) -> None:
        if self._building:
            self.query_one(Stages).progress(message.progress)

    def on_build_done(self, message: BuildDone) -> None:
        assert self._subject_now is not None
        self.wizard.built[self._subject_now] = Built(message.folder, message.manifest)
        self._replace = False
        self._end(marked("Built. n goes on with it; the Try step runs it."))

    def on_build_failed(self, message: BuildFailed) -> None:
        if message.problem is not None:
            self._end(message.problem.message)
        elif self._building:
            self._end(marked("Stopped. Nothing is left of it."))
        else:
            self._end(marked("Stopped."))

    def _end(self, words: str) -> None:
        self._stop = None
        self._building = False
        self._words = words
        self.show()

    def _tell(self, words: str) -> None:
        self._words = words
        self.query_one("#words", Static).update(words)


def _offline() -> str:
    return _(
        "You chose never to touch the network, so the Hub is not offered: f takes a file or folder that is here."
    )


def _described(source: Source) -> str:
    """Where the weights are, what they are, how large, and how much is still to come."""
    parts = [source.preset or source.precision or _("precision not stated"), amount(source.bytes)]
    if source.origin == "local":
        return f"{source.path} ({', '.join(parts)})"
    still = source.download_bytes
    parts.append(_("{size} to download").format(size=amount(still)) if still else _("downloaded already"))
    file = source.files[0].name if source.kind == "gguf" else "safetensors"
    if source.kind == "gguf" and len(source.files) > 1:
        file = _("{file} and {number} more").format(file=file, number=len(source.files) - 1)
    return f"{source.repository}@{(source.revision or '')[:7]}: {file} ({', '.join(parts)})"


def _facts(built: Built) -> Table:
    """What the manifest says, in a few lines."""
    manifest, found = built.manifest, built.manifest.fidelity
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")

    def row(label: str, text: str) -> None:
        table.add_row(Text(label, "dim"), Text(text))

    row(_("file"), str(built.file))
    row("sha256", manifest.files[0].sha256)
    size = sum(file.bytes for file in manifest.files)
    row(
        _("size"),
        _("{size}, {bits:.2f} bits per weight").format(size=amount(size), bits=manifest.bits_per_weight),
    )
    if found is not None:
        row(
            _("KL divergence"),
            _("{value:.4f} ± {error:.4f} nats a token").format(
                value=found.kl_divergence.value, error=found.kl_divergence.standard_error
            ),
        )
        row(
            _("perplexity"),
            f"{found.perplexity_increase.value:+.2%} ± {found.perplexity_increase.standard_error:.2%}",
        )
        row(_("same top token"), f"{found.same_top.value:.1%} ± {found.same_top.standard_error:.1%}")
    row(_("took"), seconds(sum(manifest.seconds.values())))
    return table
