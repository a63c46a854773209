"""One deployment with every term of its estimates."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from advisor.evidence import Value
from advisor.language import _, marked
from advisor.report.documents import DeploymentView
from advisor.sentences import translated
from advisor.tui.screens.base import Dialog
from advisor.tui.widgets.keys import Keys
from profiles.text import amount, count, rate, seconds

TERMS = {
    "weights_host_bytes": marked("weights in main memory"),
    "weights_accelerator_bytes": marked("weights on the accelerator"),
    "kv_cache_bytes": marked("KV cache"),
    "state_bytes": marked("recurrent state"),
    "compute_bytes": marked("compute buffers"),
    "overhead_bytes": marked("overhead"),
    "overhead": marked("overhead"),
    "recurrent state": marked("recurrent state"),
    "KV cache": marked("KV cache"),
    "transfer": marked("transfer"),
    "matrices": marked("matrices"),
    "attention": marked("attention"),
    "weights": marked("weights"),
    "quality": marked("quality"),
    "caution": marked("caution (half a standard error)"),
    "speed": marked("speed beyond the floor"),
    "memory": marked("little memory"),
    "total": marked("score"),
}
GRADES = {
    "spec": marked("from data sheets"),
    "calibrated": marked("from a calibration of this device"),
    "probed": marked("probed here"),
    "measured": marked("measured here"),
}


class DetailsScreen(Dialog):
    """Every number of a row, what it is made of and why the row is where it is."""

    HELP = marked("Every estimate of this deployment with its 80% interval, and the terms it is made of.")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,q", "close", show=False)]
    DEFAULT_CSS = """
    DetailsScreen > .dialog { max-width: 100; }
    DetailsScreen Static { height: auto; }
    """

    def __init__(self, row: DeploymentView) -> None:
        super().__init__()
        self._row = row

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog") as scroll:
            scroll.border_title = f"{self._row.name}:{self._row.quant}"
            yield Static(Group(*_why(self._row)))
        yield Keys(show_command_palette=False)

    def on_mount(self) -> None:
        # What is further down comes after the first picture: all at once would hold up the next key.
        self.call_after_refresh(self._add, _numbers)

    def _add(self, parts: Callable[[DeploymentView], list[RenderableType]]) -> None:
        self.query_one(VerticalScroll).mount(Static(Group(*parts(self._row))))
        if parts is _numbers:
            self.call_after_refresh(self._add, _worth)


def _why(row: DeploymentView) -> list[RenderableType]:
    settings = row.settings
    facts = _table()
    facts.add_row(Text(_("model"), "dim"), row.model)
    facts.add_row(
        Text(_("parameters"), "dim"),
        _("{count}, {bits:.2f} bits per weight, file {size}").format(
            count=count(row.parameters), bits=row.bits_per_weight, size=amount(row.file_bytes)
        ),
    )
    facts.add_row(Text(_("licence"), "dim"), row.license or _("not known"))
    facts.add_row(Text(_("runs on"), "dim"), f"{row.processor or _('unnamed')} ({row.backend})")
    facts.add_row(
        Text(_("settings"), "dim"),
        _(
            "context {context}, KV cache {k}/{v}, micro-batch {batch}, {layers} of {all} layers offloaded"
        ).format(
            context=settings.context_length,
            k=settings.type_k,
            v=settings.type_v,
            batch=settings.micro_batch,
            layers=settings.offload_layers,
            all=settings.n_layer + 1,
        ),
    )
    parts: list[RenderableType] = [facts, Text(), Text(_("Why"), "bold")]
    parts += [Text(f"· {reason}") for reason in row.why]
    parts += [Text(f"! {shortfall.message}", "bold") for shortfall in row.shortfalls]
    return parts


def _numbers(row: DeploymentView) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(), Text(_("Memory"), "bold"), _memory(row)]
    if row.tg_tokens_per_s is not None and row.pp_tokens_per_s is not None and row.ttft_s is not None:
        parts += [
            Text(),
            Text(_("Speed"), "bold"),
            _speed(row, row.tg_tokens_per_s, row.pp_tokens_per_s, row.ttft_s),
        ]
    return parts


def _worth(row: DeploymentView) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(), Text(_("Quality"), "bold"), _quality(row)]
    parts += [Text(f"· {translated(note)}", "dim") for note in row.quality.notes]
    if row.score.total is not None:
        parts += [Text(), Text(_("Score, in points of quality"), "bold"), _score(row)]
    return parts


def _memory(row: DeploymentView) -> Table:
    table = _table()
    for label, value in (
        (_("reserved"), row.memory.reserved_bytes),
        (_("resident in use"), row.memory.resident_bytes),
    ):
        table.add_row(Text(label, "dim"), _interval(value, amount))
    for term, size in row.memory.terms.items():
        if size:
            table.add_row(Text(f"  {_(TERMS.get(term, term))}", "dim"), amount(size))
    return table


def _speed(row: DeploymentView, tg: Value, pp: Value, ttft: Value) -> Table:
    table = _table()
    for label, value, form in (
        (_("generation, tokens/s"), tg, rate),
        (_("prompt, tokens/s"), pp, rate),
        (_("first token"), ttft, seconds),
    ):
        table.add_row(Text(label, "dim"), f"{_interval(value, form)}, {_(GRADES[value.evidence])}")
    for name, spent in row.speed_terms.items():
        of, _colon, term = name.partition(": ")
        what = _("of a token") if of == "token" else _("of the prompt")
        kind = term.removesuffix(" weights")
        words = _(TERMS.get(term, term)) if kind == term else _("{type} weights").format(type=kind)
        table.add_row(Text(f"  {what}: {words}", "dim"), f"{spent * 1000:.3f} ms")
    for origin in row.measurements:
        table.add_row(
            Text("  " + (_("generation") if origin.speed == "tg" else _("prompt")), "dim"),
            _("{test} gave {rate} tokens/s, {grade}, {at} UTC").format(
                test=origin.test,
                rate=rate(origin.tokens_per_s),
                grade=_(GRADES[origin.evidence]),
                at=f"{origin.at[:10]} {origin.at[11:16]}",
            ),
        )
    return table


def _quality(row: DeploymentView) -> Table:
    table = _table()
    quality = row.quality
    if quality.value is None or quality.low is None or quality.high is None:
        table.add_row(Text(_("quality"), "dim"), _("not known: no published score"))
        return table
    table.add_row(Text(_("quality"), "dim"), f"{quality.value:.1f} ({quality.low:.1f} – {quality.high:.1f})")
    for axis, value in quality.axes.items():
        table.add_row(Text(f"  {translated(axis)}", "dim"), f"{value:.1f}")
    if quality.quantization_loss is not None:
        table.add_row(
            Text("  " + _("lost to quantization"), "dim"), f"{quality.quantization_loss.points:.1f}"
        )
    for source in quality.sources:
        table.add_row(Text("  " + _("source"), "dim"), translated(source))
    return table


def _score(row: DeploymentView) -> Table:
    table = _table()
    score = row.score
    terms = {
        "quality": score.quality,
        "caution": None if score.caution is None else -score.caution,
        "speed": score.speed,
        "memory": score.memory,
        "total": score.total,
    }
    for name, value in terms.items():
        if value is not None:
            table.add_row(Text(_(TERMS[name]), "bold" if name == "total" else "dim"), f"{value:+.2f}")
    return table


def _table() -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=20)
    table.add_column()
    return table


def _interval(value: Value, form: object) -> str:
    assert callable(form)
    return f"{form(value.value)} ({form(value.low)} – {form(value.high)})"
