"""The wizard itself: what is known, the keys that work everywhere, and the workers that find out more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.reactive import reactive
from textual.screen import Screen

from advisor import language
from advisor.language import _, marked
from advisor.need import Need
from advisor.tui import garbage, themes
from advisor.tui.messages import DeviceFailed, DeviceFound, FilesListed, Ranked, RankingFailed
from advisor.tui.screens.base import StepScreen, is_ours
from advisor.tui.state import Built, Found, Problem, Ranking
from advisor.tui.steps import OPENERS, STEPS, beside
from advisor.tui.styles import LastingStylesheet
from advisor.tui.widgets.step_bar import StepBar
from advisor.tui.work.ranking import Ranker
from profiles.offline import is_offline, stay_offline

if TYPE_CHECKING:
    from advisor.candidates import Candidate
    from advisor.catalog import Model
    from advisor.local_files import Shelf
    from advisor.report.bench_documents import BenchDocument

USE_FILES = frozenset({"try", "build", "export"})
"""Steps that show which files are here: they are looked for anew when one of these is gone to."""


class Wizard(App[None]):
    """Device, need, models, try, build, export: one screen a step, each kept as it is left."""

    TITLE = "slm-advisor"
    MODES = OPENERS
    DEFAULT_MODE = STEPS[0].id
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"step('{step.id}')", step.title, show=False)
            for number, step in enumerate(STEPS, 1)
        ),
        Binding("question_mark", "help", marked("Help"), key_display="?"),
        Binding("f1", "help", marked("Help"), show=False, priority=True),
        Binding("ctrl+t", "theme", marked("Light or dark"), show=False),
        Binding("ctrl+l", "language", marked("日本語 / English"), show=False),
        Binding("q", "quit", marked("Quit"), show=False),
        Binding("ctrl+q", "quit", marked("Quit"), show=False, priority=True),
    ]
    COMMAND_PALETTE_DISPLAY = "^p"
    CSS = """
    * { scrollbar-size-vertical: 1; scrollbar-background: $background; }
    Footer { scrollbar-size-horizontal: 0; }
    OptionList, OptionList:focus { border: none; background: $surface; padding: 0; text-wrap: nowrap; }
    Input, Input:focus { background: $panel; border: none; padding: 0 1; }
    FooterKey.-compact .footer-key--key { padding: 0 0 0 1; }
    FooterKey.-compact .footer-key--description { padding: 0 0 0 1; }
    Footer.-compact FooterKey.-command-palette { margin-right: 0; }
    FooterKey.-command-palette .footer-key--key { padding: 0; }
    """

    found: reactive[Found | None] = reactive(None, init=False)
    need: reactive[Need] = reactive(Need(), init=False)
    ranking: reactive[Ranking | None] = reactive(None, init=False)
    problem: reactive[Problem | None] = reactive(None, init=False)
    chosen: reactive[str | None] = reactive(None, init=False)
    """Id of the model whose deployment is looked at, tried and built."""

    def __init__(self, *, device: str | None = None, models: tuple[Model, ...] | None = None) -> None:
        """`device` as `--device` has it; `models` instead of the catalog's."""
        super().__init__()
        self.stylesheet = LastingStylesheet(variables=self.get_css_variables())
        self.models = models
        self._given = device
        self.set_reactive(Wizard.need, Need(offline=is_offline()))
        self.built: dict[tuple[str, str], Built] = {}  # by model and quantization, as they were made or found
        self.benched: dict[
            tuple[str, str], BenchDocument
        ] = {}  # likewise, where the file was run in this session
        self.opened: dict[str, StepScreen] = {}  # the steps that have been gone to
        self._made = False  # whether the step that is being gone to is
        self._shelf: Shelf | None = None
        self._sweeper = garbage.Sweeper()
        self._ranker = Ranker(
            lambda work: self.run_worker(work, thread=True, group="ranking", exit_on_error=True),
            self.post_message,
            models,
        )

    def on_mount(self) -> None:
        self.register_theme(themes.DARK)
        self.register_theme(themes.LIGHT)
        self.theme = themes.suitable(os.environ)
        self.set_interval(garbage.EVERY_S, self._sweeper.sweep)
        if not self.is_headless:
            self._end_orderly()
        # The first screen is painted before anything heavy is imported.
        self.call_after_refresh(self.look_at, self._given)

    def _end_orderly(self) -> None:
        """A closed terminal, or `kill`, ends the wizard as `q` does: work under way is stopped and cleared up."""
        loop = asyncio.get_running_loop()
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                with contextlib.suppress(NotImplementedError):  # Windows has no such handlers
                    loop.add_signal_handler(number, self.exit, None, 128 + number)

    def _fatal_error(self) -> None:
        """What the command line says of a bug: Textual would show each variable, the environment's among them."""
        if os.environ.get("SLM_ADVISOR_DEBUG"):
            super()._fatal_error()
            return
        error = self._exception
        words = _("slm-advisor: internal error: {error} (SLM_ADVISOR_DEBUG=1 shows where)")
        self.panic(Text(words.format(error=f"{type(error).__name__}: {error}")))

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.InputEvent):
            self._sweeper.touch()
        await super().on_event(event)

    # --- what is known ----------------------------------------------------------------------------------------

    def look_at(self, given: str | None) -> None:
        """Find out what a device is; the one before stays until it is known."""

        def work() -> None:
            from advisor.tui.work.loading import load_device

            self.post_message(load_device(given))

        self.run_worker(work, thread=True, group="loading", exclusive=True)

    def on_device_found(self, message: DeviceFound) -> None:
        self.problem = None
        self.found = message.found

    def on_device_failed(self, message: DeviceFailed) -> None:
        self.problem = message.problem

    def on_ranked(self, message: Ranked) -> None:
        self.problem = None
        rows = message.ranking.rows
        if rows and (self.chosen is None or message.ranking.row(self.chosen) is None):
            self.chosen = rows[0].model
        first = self.ranking is None
        self.ranking = message.ranking
        if first:
            self.list_files()
            self.run_worker(_import_the_rest, thread=True, group="importing")

    def list_files(self) -> None:
        """Look again which model files are here; the screen is told."""

        def work() -> None:
            from advisor.tui.work.loading import list_files

            self.post_message(list_files())

        self.run_worker(work, thread=True, group="listing", exclusive=True)

    def on_files_listed(self, message: FilesListed) -> None:
        self._shelf = message.shelf
        self._show()

    def on_ranking_failed(self, message: RankingFailed) -> None:
        self.problem = message.problem

    def watch_found(self) -> None:
        self._ask()

    def watch_need(self) -> None:
        stay_offline(self.need.offline)
        self._ask()

    def watch_ranking(self) -> None:
        self._show()

    def watch_problem(self) -> None:
        self._show()

    def choose(self, model: str) -> None:
        """The model whose deployment is looked at from now on; the screen that says so shows it itself."""
        self.set_reactive(Wizard.chosen, model)

    def built_of(self, candidate: Candidate, out: Path | None = None) -> Built | None:
        """The finished build of a candidate's variant: made in this session, or found in `out` or here."""
        from advisor.build import build_folder
        from advisor.tui.work.building import find_built

        model, quant = candidate.model, candidate.variant.quant
        built = self.built.get((model.id, quant))
        if built is None or not built.file.is_file():
            built = find_built(build_folder(model, quant, out or Path()))
            if built is None:
                self.built.pop((model.id, quant), None)
            else:
                self.built[model.id, quant] = built
        return built

    def files_of(self, candidate: Candidate, quant: str | None = None) -> tuple[Path, ...] | None:
        """Files that are here of a candidate's model, at its or another quantization; what was built or run is first.

        None as long as nobody has looked.
        """
        if self._shelf is None:
            return None
        found = list(self._shelf.files_of(candidate.model, quant or candidate.variant.quant))
        if quant is None:
            bench = self.benched.get((candidate.model.id, candidate.variant.quant))
            if bench is not None:
                found.insert(0, Path(bench.file.path))
            if (built := self.built_of(candidate)) is not None:
                found.insert(0, built.file)
        return tuple(dict.fromkeys(path.absolute() for path in found))

    @property
    def current(self) -> bool:
        """Whether the ranking answers the present question."""
        ranking = self.ranking
        return ranking is not None and ranking.need == self.need and ranking.found == self.found

    def _ask(self) -> None:
        if self.found is not None:
            self._ranker.ask(self.found, self.need)
        self._show()

    def _show(self) -> None:
        """Tell the step that is looked at; the others are told when they are gone to."""
        screen = self.screen_stack[0] if self.screen_stack else None
        if isinstance(screen, StepScreen) and screen.is_mounted:
            self.summarize(screen)
            screen.show()

    def summarize(self, screen: Screen[None]) -> None:
        """What has been chosen, into the bar of a screen."""
        ranking = self.ranking if self.current else None
        screen.query_one(StepBar).tell(
            None if self.found is None else self.found.device.name or _("this device"),
            self.need.task,
            self.need.languages,
            None if ranking is None else len(ranking.rows),
            0 if ranking is None else ranking.considered,
        )

    # --- actions ----------------------------------------------------------------------------------------------

    @property
    def step(self) -> str:
        """The id of the step that is looked at."""
        return self.current_mode

    async def action_step(self, step: str) -> None:
        """Go to a step."""
        if len(self.screen_stack) > 1:  # a dialog is open: it has its own way out
            return
        self._made = step in self.opened
        await self.switch_mode(step)
        self._made = False
        if self.current:
            self.problem = None  # of a device that was not taken
        if step in USE_FILES and self._shelf is not None:
            self.list_files()
        self._show()

    def delay_update(self, delay: float = 0.05) -> None:
        """Paint nothing for a moment; a step that has been made before is painted at once."""
        if not self._made:
            super().delay_update(delay)

    async def action_go(self, by: int) -> None:
        """To the next step, or back."""
        step = beside(self.step, by)
        if step is not None:
            await self.action_step(step)

    def action_help(self) -> None:
        from advisor.tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def action_theme(self) -> None:
        self.theme = themes.DARK.name if not self.current_theme.dark else themes.LIGHT.name

    async def action_language(self) -> None:
        """To the next language; what was worked out in words is worked out again."""
        if len(self.screen_stack) > 1:
            return
        codes = list(language.LANGUAGES)
        language.use(codes[(codes.index(language.current()) + 1) % len(codes)])
        here = self.screen
        for screen in self.opened.values():
            await screen.retranslate()
        if self.found is not None:
            self._ranker.ask(self.found, self.need)
        if isinstance(here, StepScreen):
            here.refresh_bindings()
        self._show()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every action of the screen, each step, and what works everywhere."""
        seen: set[str] = set()
        for active in screen.active_bindings.values():
            binding = active.binding
            if not (binding.description and active.enabled and is_ours(active)) or binding.action in seen:
                continue
            seen.add(binding.action)

            async def run(action: str = binding.action, node: DOMNode = active.node) -> None:
                await self.run_action(action, node)

            going = binding.action.startswith("step(")
            title = _("Go to {step}").format(step=binding.description) if going else binding.description
            yield SystemCommand(title, _("Key {key}").format(key=self.get_key_display(binding)), run)

    def action_command_palette(self) -> None:
        from textual.command import CommandPalette

        if not any(isinstance(screen, CommandPalette) for screen in self.screen_stack):
            self.push_screen(CommandPalette(placeholder=_("Search for an action …"), id="--command-palette"))


def _import_the_rest() -> None:
    from advisor.tui.work.loading import import_the_rest

    import_the_rest()
