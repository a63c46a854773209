"""The third step: the models that fit, best first, and those that do not, with the reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Input, Static

from advisor.language import _, marked
from advisor.report.documents import DeploymentView, DeviceSummary
from advisor.report.table import MARKS
from advisor.tui.columns import matches, model_columns, ruled_out_columns
from advisor.tui.screens.base import StepScreen
from advisor.tui.state import RuledOut
from advisor.tui.widgets.grid import Grid
from advisor.tui.widgets.summary import Summary

MOST_COMPARED = 3


class ModelsScreen(StepScreen):
    """A table; beside or below it the row under the cursor and the plot."""

    STEP = "models"
    HELP = marked(
        "Best first: quality, less where it is uncertain, more for speed and little memory. A star marks models that "
        "nothing else beats in quality, speed and memory at once.\n\n"
        "Speeds have 80% intervals, and a mark for how they are known: ~ from data sheets, c from a calibration of "
        "this device, p probed here, m measured here. The memory bar ends at what could be free with other programs "
        "closed; its tick is what is free now.\n\n"
        "The row under the cursor is what the next step tries. Columns further right are reached with the arrow keys; "
        "a click on a heading sorts."
    )
    AUTO_FOCUS = "#fitting"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", marked("Find"), key_display="/"),
        Binding("space", "mark", marked("Mark"), key_display="␣"),
        Binding("c", "compare", marked("Compare")),
        Binding("p", "plot", marked("Plot")),
        Binding("x", "ruled_out", marked("Out")),
        Binding("escape", "leave", marked("Back"), show=False),
    ]
    DEFAULT_CSS = """
    ModelsScreen #sides { layout: vertical; height: 1fr; }
    ModelsScreen #filter { display: none; }
    ModelsScreen #tables { height: 3fr; }
    ModelsScreen #side { height: 2fr; border-top: solid $panel; }
    ModelsScreen #empty { padding: 1 2; height: auto; display: none; }
    ModelsScreen #legend { padding: 0 1; color: $text-muted; height: 1; }
    ModelsScreen #plot { display: none; height: 1fr; }
    ModelsScreen #ruled_out { display: none; }
    ModelsScreen.-wide #sides { layout: horizontal; }
    ModelsScreen.-wide #tables { width: 1fr; height: 1fr; }
    ModelsScreen.-wide #side { width: 46; height: 1fr; border-top: none; border-left: solid $panel; }
    ModelsScreen.-wide #plot { display: block; }
    ModelsScreen.-wide #details { height: auto; max-height: 60%; }
    ModelsScreen.-flat #side { display: none; }
    ModelsScreen.-flat #legend { display: none; }
    ModelsScreen.-picture #plot { display: block; }
    ModelsScreen.-picture #details { display: none; }
    ModelsScreen.-wide.-picture #details { display: block; }
    /* Inside #side: across the edge of two widgets, a notification would lose the wide letter that lies on it. */
    ModelsScreen.-wide Toast { max-width: 43; }
    """

    def body(self) -> Iterable[Widget]:
        self._models: Grid[DeploymentView] = Grid(
            model_columns(self._device, lambda model: model in self._models.marks), key=_model, id="fitting"
        )
        self._others: Grid[RuledOut] = Grid(ruled_out_columns(), key=_model, id="ruled_out")
        yield Container(
            Vertical(
                Input(placeholder=_("name, family, quantization or licence"), id="filter", compact=True),
                Static("", id="empty", markup=False),
                self._models,
                self._others,
                Static("", id="legend", markup=False),
                id="tables",
            ),
            Vertical(VerticalScroll(Summary(), id="details"), Container(id="plot"), id="side"),
            id="sides",
        )

    def show(self) -> None:
        ranking = self.wizard.ranking
        if ranking is None:
            return
        text = self.query_one("#filter", Input).value
        rows = [row for row in ranking.rows if matches(row, text)]
        self._models.marks = [mark for mark in self._models.marks if ranking.row(mark) is not None]
        self._models.tell(rows, cursor=self.wizard.chosen)
        if self._models.key is not None:  # the one chosen before may be filtered away
            self.wizard.choose(self._models.key)
        self._others.tell([row for row in ranking.ruled_out if text.lower() in row.name.lower()])
        empty = self.query_one("#empty", Static)
        empty.display = not rows and not self._others.display
        if ranking.rows:
            empty.update(_("No row has that in it. Clear the filter with escape."))
        else:
            empty.update(
                _("Nothing fits. Press x for what rules each model out, and enter there for what would help.")
            )
        grades = {row.tg_tokens_per_s.evidence for row in rows if row.tg_tokens_per_s is not None}
        words = [f"{mark} {_(meaning)}" for grade, (mark, meaning) in MARKS.items() if grade in grades]
        self.query_one("#legend", Static).update("   ".join([*words, _("* on the front")]))
        self._show_row()

    def on_grid_highlighted(self, event: Grid.Highlighted) -> None:
        if event.grid is self._models:
            self.wizard.choose(event.row.model)
        self._show_row()

    def on_grid_taken(self, event: Grid.Taken) -> None:
        ranking = self.wizard.ranking
        if ranking is None:
            return
        if event.grid is self._models:
            from advisor.tui.screens.details import DetailsScreen

            self.app.push_screen(DetailsScreen(event.row))
        else:
            from advisor.tui.screens.why import WhyScreen

            self.app.push_screen(WhyScreen(event.row, ranking))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (action in ("mark", "compare") and self._others.display)

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_row)  # a wide terminal has the plot too

    def on_input_changed(self, event: Input.Changed) -> None:
        self.show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._focus_table()

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def action_leave(self) -> None:
        """Out of the filter, out of the list of what was ruled out, or a step back."""
        field = self.query_one("#filter", Input)
        if field.display:
            field.value = ""
            field.display = False
            self._focus_table()
        elif self._others.display:
            self.action_ruled_out()
        else:
            self.run_worker(self.wizard.action_go(-1))

    def action_mark(self) -> None:
        if not self._models.toggle_mark(MOST_COMPARED):
            self.notify(_("Three can be compared: take a mark away first."), severity="warning")

    def action_compare(self) -> None:
        from advisor.tui.screens.compare import CompareScreen

        ranking = self.wizard.ranking
        if ranking is None or not ranking.rows:
            return
        models = list(self._models.marks)
        if self._models.key is not None and self._models.key not in models and len(models) < 2:
            models.append(self._models.key)
        rows = [row for model in models if (row := ranking.row(model)) is not None]
        if len(rows) < 2:
            self.notify(_("Mark two or three models with space, then compare them."), severity="warning")
            return
        self.app.push_screen(CompareScreen(rows, ranking))

    def action_plot(self) -> None:
        self.toggle_class("-picture")
        self._show_row()

    def action_ruled_out(self) -> None:
        others = not self._others.display
        self._others.display, self._models.display = others, not others
        self.query_one("#empty").display = not others and not self._models.rows
        self.query_one("#legend").display = not others  # of the columns that the others have not
        self._show_row()
        self._focus_table()
        self.refresh_bindings()

    def _focus_table(self) -> None:
        (self._others if self._others.display else self._models).focus()

    def _device(self) -> DeviceSummary | None:
        return None if self.wizard.ranking is None else self.wizard.ranking.device

    def _show_row(self) -> None:
        ranking = self.wizard.ranking
        if ranking is None:
            return
        self.query_one(Summary).tell((self._others if self._others.display else self._models).row)
        holder = self.query_one("#plot", Container)
        if self.has_class("-wide") or self.has_class("-picture"):
            from advisor.tui.widgets.front import Front  # the plotting library, only where it is looked at

            if not holder.children:
                holder.mount(Front())
            for front in holder.query(Front):
                front.tell(ranking.rows, self.wizard.chosen)


def _model(row: Any) -> str:
    model: str = row.model
    return model
