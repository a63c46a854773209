"""Quality against speed, with the front that nothing else beats."""

from __future__ import annotations

import math

from textual_plotext import PlotextPlot

from advisor.language import _
from advisor.report.documents import DeploymentView
from profiles.text import rate

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
DELAY_S = 0.12  # the picture waits until the cursor rests: a key press must not


class Front(PlotextPlot):
    """The models that fit; the line joins those on the Pareto front of quality and speed."""

    DEFAULT_CSS = """
    Front { height: 1fr; min-height: 8; background: $background; }
    """

    def tell(self, rows: tuple[DeploymentView, ...], chosen: str | None) -> None:
        """Draw these, a little later."""
        self._rows, self._chosen = rows, chosen
        self.set_timer(DELAY_S, self._draw, name="draw") if not self._asked else None
        self._asked = True

    _asked = False
    _rows: tuple[DeploymentView, ...] = ()
    _chosen: str | None = None

    def _draw(self) -> None:
        self._asked = False
        plot = self.plt
        plot.clear_figure()
        points = [
            (row, math.log10(max(row.tg_tokens_per_s.value, 0.05)), row.quality.value)
            for row in self._rows
            if row.tg_tokens_per_s is not None and row.quality.value is not None
        ]
        if points:
            front = fastest_first([(x, y) for _row, x, y in points])
            plot.scatter(
                [x for _row, x, _y in points], [y for _row, _x, y in points], marker="·", color="gray"
            )
            plot.plot([x for x, _y in front], [y for _x, y in front], marker="braille", color="green")
            plot.scatter([x for x, _y in front], [y for _x, y in front], marker="•", color="green+")
            own = [(x, y) for row, x, y in points if row.model == self._chosen]
            if own:
                plot.scatter([own[0][0]], [own[0][1]], marker="◆", color="orange+")
            low, high = min(x for _row, x, _y in points), max(x for _row, x, _y in points)
            ticks = [tick for tick in TICKS if low - 0.15 <= math.log10(tick) <= high + 0.15]
            plot.xticks(
                [math.log10(tick) for tick in ticks], [rate(tick).removesuffix(".0") for tick in ticks]
            )
            bottom, top = min(y for _row, _x, y in points), max(y for _row, _x, y in points)
            step = next((step for step in (1, 2, 5, 10, 20) if (top - bottom) / step <= 6), 50)
            marks = [float(step * n) for n in range(math.floor(bottom / step), math.ceil(top / step) + 1)]
            plot.yticks(marks, [f"{mark:g}" for mark in marks])
            plot.ylim(marks[0], marks[-1])
        plot.xlabel(_("tokens/s"))
        plot.title(_("quality against speed; line: the front"))
        self.refresh()


def fastest_first(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in speed and quality at once, from the fastest to the best."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (-point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front
