"""What there is to say of one deployment in a few lines: why it is recommended."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.widgets import Static

from advisor.language import _
from advisor.report.documents import DeploymentView
from advisor.tui.state import RuledOut
from profiles.text import amount


class Summary(Static):
    """The reasons for the row under the cursor."""

    DEFAULT_CSS = """
    Summary { height: auto; padding: 0 1; }
    """

    def tell(self, row: DeploymentView | RuledOut | None) -> None:
        """Show this row; for one that was ruled out, what did it."""
        if row is None:
            self.update("")
            return
        if isinstance(row, RuledOut):
            title = Text(_("{model} is ruled out because it").format(model=row.name), "bold")
            self.update(Group(title, *(Text(f"· {reason}") for reason in row.reasons)))
            return
        head = Text(f"{row.name}:{row.quant}", "bold")
        facts = [amount(row.file_bytes), row.license or _("licence not known"), row.model]
        lines = [head, Text("  ".join(facts), "dim")]
        reasons = Table.grid(padding=(0, 1, 0, 0))
        for reason in row.why:
            reasons.add_row("·", Text(reason))
        self.update(Group(*lines, reasons))
