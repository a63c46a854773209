"""The fourth step: run the chosen deployment here, and see how good the prediction was."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import HorizontalGroup, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, Static

from advisor.candidates import Candidate
from advisor.evidence import Value
from advisor.language import _, marked
from advisor.report.documents import DeploymentView
from advisor.sentences import translated
from advisor.trial import Trial
from advisor.tui.messages import TrialDone, TrialFailed, TrialProgress, TrialSample, Watched
from advisor.tui.screens.base import StepScreen
from advisor.tui.screens.details import GRADES
from advisor.tui.state import Problem, Ranking
from advisor.tui.widgets.live import Live
from advisor.tui.work.trying import bench_here, probe_here
from profiles.engine.stop import Stop
from profiles.text import amount, rate, seconds

SPEEDS = {
    "pp": marked("prompt, tokens/s"),
    "tg": marked("generation, tokens/s"),
    "ttft": marked("first token"),
}


class TrialScreen(StepScreen):
    """Probe it without downloading, bench its file, or talk with it."""

    STEP = "try"
    HELP = marked(
        "This tries the deployment that the models screen has chosen, on this machine.\n\n"
        "A probe makes a model of its exact shape from made-up weights and times that: nothing is downloaded, and it "
        "takes about a minute. A bench runs the real file, which you choose. Both replace the estimate in the list, "
        "unless the machine was too busy: then you may measure all the same, and nothing is kept.\n\n"
        "Talking shows what the model says and how fast. The engine runs in a process of its own: if a model crashes "
        "it, this program goes on."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "probe", marked("Probe")),
        Binding("f", "bench", marked("Bench a file")),
        Binding("t", "talk", marked("Talk")),
        Binding("u", "anyway", marked("Measure anyway")),
        Binding("escape", "stop", marked("Stop"), key_display="esc"),
        Binding("escape", "app.go(-1)", marked("Back"), show=False),
    ]
    DEFAULT_CSS = """
    TrialScreen #chosen { padding: 0 1; height: auto; text-style: bold; color: $primary; margin-top: 1; }
    TrialScreen #facts { padding: 0 1; height: auto; color: $text-muted; }
    TrialScreen #actions { padding: 0 1; height: auto; margin: 1 0; }
    TrialScreen #actions Button { margin-right: 1; }
    TrialScreen #words { padding: 0 1; height: auto; }
    TrialScreen #results { padding: 0 1; height: auto; margin-top: 1; }
    TrialScreen VerticalScroll { height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._stop: Stop | None = None
        self._again: tuple[str, Path | None] | None = None  # what a busy machine refused
        self._words = ""  # how the last test went, or goes
        self._about: str | None = None  # the model that was chosen then
        self._trials: list[Trial] = []

    def body(self) -> Iterable[Widget]:
        yield VerticalScroll(
            Static("", id="chosen", markup=False),
            Static("", id="facts", markup=False),
            HorizontalGroup(
                Button(_("Probe, without downloading"), id="probe", compact=True, action="screen.probe"),
                Button(_("Bench a file …"), id="bench", compact=True, action="screen.bench"),
                Button(_("Talk …"), id="talk", compact=True, action="screen.talk"),
                id="actions",
            ),
            Static("", id="words", markup=False),
            Live(),
            Static("", id="results"),
        )

    def show(self) -> None:
        ranking, row = self.wizard.ranking, self._row()
        chosen, facts = self.query_one("#chosen", Static), self.query_one("#facts", Static)
        for button in self.query(Button):
            button.disabled = not self.check_action(str(button.id), ())
        if ranking is None or row is None:
            chosen.update(_("No model is chosen: the models screen has the list."))
            facts.update("")
        else:
            chosen.update(f"{row.name}:{row.quant}")
            facts.update(
                "  ·  ".join(
                    [amount(row.file_bytes), row.license or _("licence not known"), row.processor or ""]
                )
            )
        if self._stop is None and self._about != self.wizard.chosen:
            self._about, self._words, self._again = self.wizard.chosen, "", None
        self.query_one("#words", Static).update(self._words or self._advice())
        self.query_one("#results", Static).update(self._table(row))
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "anyway":
            return self._again is not None and self._stop is None
        if action in ("probe", "bench", "talk"):
            return self._stop is None and self._can_be_tried
        return self._stop is not None if action == "stop" else True

    # --- actions ----------------------------------------------------------------------------------------------

    def action_probe(self) -> None:
        self._run("probe", None, strict=True)

    def action_bench(self) -> None:
        self._choose_file(lambda path: self._run("bench", path, strict=True))

    def action_talk(self) -> None:
        found = self._subject()
        if found is None:
            return
        candidate = found[1]

        def talk(path: Path) -> None:
            from advisor.tui.screens.talk import TalkScreen

            self.app.push_screen(TalkScreen(path, candidate))

        self._choose_file(talk)

    def action_anyway(self) -> None:
        if self._again is not None:
            kind, path = self._again
            self._run(kind, path, strict=False)

    def action_stop(self) -> None:
        if self._stop is not None:
            self._stop()
            self._tell(_("stopping …"))

    def on_unmount(self) -> None:
        if self._stop is not None:
            self._stop()

    # --- the run ----------------------------------------------------------------------------------------------

    def _run(self, kind: str, path: Path | None, *, strict: bool) -> None:
        found = self._subject()
        if found is None or self._stop is not None:
            return
        ranking, candidate = found
        stop = self._stop = Stop()
        self._again = (kind, path)
        self.query_one(Live).clear()
        self._tell(_("starting …"))
        target, workload, post = ranking.target, ranking.workload, self.post_message

        def work() -> None:
            if path is None:
                probe_here(candidate, target, workload, stop, strict, post)
            else:
                bench_here(path, candidate, target, workload, stop, strict, post)

        self.run_worker(work, thread=True, group="trying")
        self.show()

    def on_trial_progress(self, message: TrialProgress) -> None:
        if self._stop is not None and not self._stop.stopped:
            self._tell(message.words)

    def on_trial_sample(self, message: TrialSample) -> None:
        self.query_one(Live).sample(message.test, message.tokens_per_s)

    def on_watched(self, message: Watched) -> None:
        self.query_one(Live).watched(message.reading)

    def on_trial_done(self, message: TrialDone) -> None:
        trial = message.trial
        self._trials = [
            each for each in self._trials if (each.label, each.grade) != (trial.label, trial.grade)
        ]
        self._trials.append(trial)
        self._again = None
        if message.bench is not None and trial.model is not None and trial.quant is not None:
            self.wizard.benched[trial.model, trial.quant] = message.bench
        words = _("Done: {what} {grade}.").format(what=trial.label, grade=_(GRADES[trial.grade]))
        words += " " + (
            _("The list uses it from now on.")
            if trial.kept
            else _("It is not kept: the machine was busy, or the file is of no known model.")
        )
        chosen = self._row()
        if chosen is not None and trial.model is not None and trial.model != chosen.model:
            words += " " + _("The file is another model than the chosen one: its own row takes the result.")
        self._end(words)
        if trial.kept:
            self.wizard.look_at(None)

    def on_trial_failed(self, message: TrialFailed) -> None:
        if message.problem is None:
            self._again = None
            self._end(_("Stopped. Nothing is kept."))
        elif message.noisy:
            self._end(
                message.problem.message + "\n" + _("u measures all the same, without keeping the result.")
            )
        else:
            self._again = None
            self._end(message.problem.message)

    def _end(self, words: str) -> None:
        self._stop = None
        self._words = words
        self.show()

    def _tell(self, words: str) -> None:
        self._words = words
        self.query_one("#words", Static).update(words)

    # --- what it is about -------------------------------------------------------------------------------------

    def _row(self) -> DeploymentView | None:
        ranking, chosen = self.wizard.ranking, self.wizard.chosen
        return None if ranking is None or chosen is None else ranking.row(chosen)

    @property
    def _can_be_tried(self) -> bool:
        ranking = self.wizard.ranking
        return ranking is not None and ranking.found.here and self._row() is not None

    def _subject(self) -> tuple[Ranking, Candidate] | None:
        """What is to be tried; says why where it cannot be."""
        from profiles.engine.installed import installed_engine

        ranking, chosen = self.wizard.ranking, self.wizard.chosen
        candidate = None if ranking is None or chosen is None else ranking.candidate(chosen)
        if ranking is None or candidate is None or not ranking.found.here:
            self.show()
            return None
        if installed_engine() is None:
            self._tell(missing_engine().message)
            return None
        return ranking, candidate

    def _choose_file(self, take: object) -> None:
        from advisor.tui.screens.choose_file import ChooseFile

        found = self._subject()
        if found is None:
            return
        title = _("A GGUF file, such as {name}").format(
            name=f"{found[1].model.name}-{found[1].variant.quant}.gguf"
        )

        def chosen(path: object) -> None:
            if isinstance(path, str) and callable(take):
                take(Path(path))

        self.app.push_screen(ChooseFile(title, (".gguf",), self._files(found[1])), chosen)

    def _files(self, candidate: Candidate) -> tuple[str, ...]:
        return tuple(str(path) for path in self.wizard.files_of(candidate) or ())

    def _advice(self) -> str:
        found = self.wizard.ranking
        chosen = self.wizard.chosen
        if found is not None and not found.found.here:
            return _(
                "{device} is not this machine, so nothing can be tried on it from here. On it: slm-advisor bench FILE."
            ).format(device=found.device.name or _("This device"))
        candidate = None if found is None or chosen is None else found.candidate(chosen)
        files = None if candidate is None else self.wizard.files_of(candidate)
        if files is None:
            return ""
        if files:
            return _("Its file is here, so it can be benched and talked with: {path}").format(path=files[0])
        return _(
            "Its file was not found in the usual folders: a probe tells its speed without downloading it."
        )

    def _table(self, row: DeploymentView | None) -> Table | Text:
        own = [each for each in self._trials if row is not None and each.model in (row.model, None)]
        if row is None:
            return Text()
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("")
        for heading in (_("predicted"), _("found here"), _("off by")):
            table.add_column(heading, justify="right")
        if not own:
            predicted = {"pp": row.pp_tokens_per_s, "tg": row.tg_tokens_per_s, "ttft": row.ttft_s}
            for speed, value in predicted.items():
                table.add_row(
                    Text(_(SPEEDS[speed])), "-" if value is None else _in_words(speed, value), "-", "-"
                )
            if row.tg_tokens_per_s is not None:
                table.add_row("", Text(_(GRADES[row.tg_tokens_per_s.evidence]), "dim"))
            return table
        for trial in own:
            table.add_row(Text(f"{trial.label}, {_(GRADES[trial.grade])}", "bold"))
            for each in trial.rows:
                predicted_ = each.predicted
                table.add_row(
                    Text(f"{_(SPEEDS[each.speed])}  {each.test}"),
                    "-" if predicted_ is None else _in_words(each.speed, predicted_),
                    Text(_in_words(each.speed, each.found), "bold"),
                    "-" if predicted_ is None else f"{predicted_.value / each.found.value - 1:+.0%}",
                )
            if trial.peak_resident_bytes is not None:
                table.add_row(Text(_("peak memory")), "", amount(trial.peak_resident_bytes), "")
            for note in trial.notes:
                table.add_row(Text(f"· {translated(note)}", "dim"))
        return table


def missing_engine() -> Problem:
    """That there is no engine, and how to get one."""
    return Problem(
        _(
            "The engine is not installed. In a terminal: slm-advisor engine install (it builds llama.cpp for this "
            "machine), then start again."
        )
    )


def _in_words(speed: str, value: Value) -> str:
    form = seconds if speed == "ttft" else rate
    return f"{form(value.value)} ({form(value.low)}-{form(value.high)})"
