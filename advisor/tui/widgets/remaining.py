"""How many models remain, what rules the others out, and the best three."""

from __future__ import annotations

from rich.cells import set_cell_size
from rich.console import Group
from rich.text import Text
from textual.widgets import Static

from advisor.language import _, marked, plural
from advisor.tui.state import Ranking
from profiles.text import rate

CONSTRAINTS = {
    "engine": marked("llama.cpp cannot run it"),
    "dimensions": marked("dimensions not certain"),
    "family": marked("family"),
    "license": marked("licence"),
    "task": marked("made for something else"),
    "context": marked("context too short"),
    "download": marked("file too large"),
    "memory": marked("too little memory"),
    "host memory": marked("too little main memory"),
    "accelerator memory": marked("too little accelerator memory"),
    "decode speed": marked("too slow"),
    "first token": marked("first word too late"),
    "no estimate": marked("no estimate"),
}
BAR = 18


class Remaining(Static):
    """The answer to a need at a glance."""

    DEFAULT_CSS = """
    Remaining { height: auto; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._before: int | None = None
        self._shown: Ranking | None = None
        self._change = self._best = 0

    def tell(self, ranking: Ranking | None, *, best: int = 3) -> None:
        """Show this answer; None while there is none yet."""
        if ranking is None:
            self.update(_("ranking …"))
            return
        if ranking is self._shown and best == self._best:
            return
        count = len(ranking.rows)
        self._change = 0 if self._before is None else count - self._before
        self._before, self._shown, self._best = count, ranking, best
        head = Text(
            plural("{count} of {all} models remains", "{count} of {all} models remain", count).format(
                count=count, all=ranking.considered
            ),
            "bold",
        )
        if self._change:
            head.append(f"  ({self._change:+d})", "bold")
        lines = [head]
        most = max(ranking.counts.values(), default=1)
        for constraint, number in ranking.counts.items():
            bar = "█" * max(1, round(BAR * number / most))
            line = Text(set_cell_size(_(CONSTRAINTS.get(constraint, constraint)), 30), "dim", no_wrap=True)
            line.append(f"{number:>4} ", "none")
            line.append(bar, "dim")
            lines.append(line)
        if ranking.rows:
            lines += [Text(), Text(_("Best so far"), "bold")]
            for row in ranking.rows[:best]:
                speed = (
                    ""
                    if row.tg_tokens_per_s is None
                    else f"{rate(row.tg_tokens_per_s.value):>7} {_('tokens/s')}"
                )
                lines.append(Text(set_cell_size(f"{row.name}:{row.quant}", 33) + speed, no_wrap=True))
        else:
            lines += [
                Text(),
                Text(_("Nothing fits. The models screen shows what comes near and what would let it in.")),
            ]
        self.update(Group(*lines))
