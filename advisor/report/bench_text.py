"""A bench result as text for people: 80 columns, readable without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.evidence import Value
from advisor.report.bench_documents import BenchDocument, BenchRunView, BenchSustained
from advisor.report.console import render
from profiles.text import amount, count, rate

if TYPE_CHECKING:
    from rich.table import Table

# What a column shows where the settings of a bench differ, and its short heading.
_SETTINGS = {
    "threads": "thr",
    "threads_batch": "thr pp",
    "batch": "b",
    "micro_batch": "ub",
    "type_k": "K",
    "type_v": "V",
    "offload_layers": "ngl",
    "flash_attention": "fa",
}


def bench_text(document: BenchDocument) -> str:
    """The file, the table of tests, what else was measured, and the notes."""
    file = document.file
    name = f"{file.model}:{file.quant}" if file.model else file.path.rsplit("/", 1)[-1]
    parts: list[str | Table] = [
        f"{name}: {file.description}, {count(file.parameters)} parameters, {amount(file.tensor_bytes)}",
        f"{document.device or 'This device'}, {document.backend}; {document.engine or 'engine not known'}",
    ]
    if document.runs:
        first = document.runs[0]
        varying = {
            field for field in _SETTINGS if len({getattr(run.settings, field) for run in document.runs}) > 1
        }
        if varying == {"threads", "threads_batch"}:
            varying.discard("threads_batch")
        parts += [_common(first, varying), "", _table(document, [f for f in _SETTINGS if f in varying]), ""]
        parts += _facts(document, first)
    if document.sustained:
        parts += [
            _span(document.sustained[0]),
            "",
            _sustained_table(document),
            "",
        ]
        parts += [f"{one.test}: {one.explanation}." for one in document.sustained]
    parts += _energy(document)
    noise = {f"{rate.test}: {reason}" for run in document.runs for rate in run.rates for reason in rate.noise}
    parts += [f"Noise: {text}." for text in sorted(noise)]
    parts += [f"Note: {note}." for note in document.notes]
    return render(*parts)


def _common(run: BenchRunView, varying: set[str]) -> str:
    """The settings that all runs share."""
    settings = run.settings
    words = []
    if "threads" not in varying:
        batch = settings.threads_batch
        words.append(
            f"{settings.threads} thread{'s' if settings.threads > 1 else ''}"
            + (f" ({batch} for prompts)" if batch != settings.threads else "")
        )
    if not varying & {"type_k", "type_v"}:
        words.append(f"KV {settings.type_k}/{settings.type_v}")
    if "micro_batch" not in varying:
        words.append(f"micro-batch {settings.micro_batch}")
    if "offload_layers" not in varying and settings.offload_layers:
        words.append(f"{settings.offload_layers} layers offloaded")
    if "flash_attention" not in varying:
        words.append(f"flash attention {settings.flash_attention}")
    return ", ".join(words)


def _table(document: BenchDocument, varying: list[str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for field in varying:
        table.add_column(_SETTINGS[field], justify="right", no_wrap=True)
    table.add_column("test", overflow="fold")
    for heading in ("tok/s", "80% interval", "predicted", "off by"):
        table.add_column(heading, justify="right", no_wrap=True)
    counted = any(rate.joules_per_token is not None for run in document.runs for rate in run.rates)
    if counted:
        table.add_column("J/token", justify="right", no_wrap=True)
    for run in document.runs:
        for one in run.rates:
            predicted = one.predicted_tokens_per_s
            cells = [str(getattr(run.settings, field)) for field in varying]
            cells += [one.test, rate(one.tokens_per_s.value), _interval(one.tokens_per_s)]
            if predicted is None:
                cells += ["-", "-"]
            else:
                off = predicted.value / one.tokens_per_s.value - 1
                cells += [f"{rate(predicted.value)} ({_interval(predicted)})", f"{off:+.0%}"]
            if counted:
                cells.append("-" if one.joules_per_token is None else f"{one.joules_per_token:.3g}")
            table.add_row(*cells)
    return table


def _facts(document: BenchDocument, run: BenchRunView) -> list[str]:
    """What else the first run measured."""
    lines = []
    if run.first_token is not None:
        first, value = run.first_token, run.first_token.ttft_s
        depth = f" at depth {first.depth}" if first.depth else ""
        lines.append(
            f"first token     {_exact(value.value)} after a prompt of {first.n_prompt} tokens{depth} "
            f"({_exact(value.low)} to {_exact(value.high)})"
        )
    lines.append(f"load            {_exact(run.load_s)}")
    if run.peak_resident_bytes is not None:
        peak = max(one.peak_resident_bytes or 0 for one in document.runs)
        lines.append(f"peak memory     {amount(peak)} resident in the engine's process")
    return lines


def _energy(document: BenchDocument) -> list[str]:
    counted = any(rate.joules_per_token is not None for run in document.runs for rate in run.rates)
    counted = counted or any(one.joules_per_token is not None for one in document.sustained)
    if counted:
        sustained = [
            f"{one.test} {one.joules_per_token:.3g} J/token"
            for one in document.sustained
            if one.joules_per_token is not None
        ]
        return [f"energy          of {document.energy}" + (f": {', '.join(sustained)}" if sustained else "")]
    return [f"energy          {document.energy}"] if document.energy else []


def _sustained_table(document: BenchDocument) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("test", overflow="fold")
    for heading in ("first", "last", "ratio", "80% interval", "°C", "GHz"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in document.sustained:
        table.add_row(
            one.test,
            rate(one.first.tokens_per_s),
            rate(one.last.tokens_per_s),
            f"{one.ratio.value:.0%}",
            f"{one.ratio.low:.0%}-{one.ratio.high:.0%}",
            _change(one, "temperature_c", 1, ".0f"),
            _change(one, "clock_hz", 1e9, ".2f"),
        )
    return table


def _span(one: BenchSustained) -> str:
    window = one.window_s
    part = "minute" if window >= 59.5 else f"{window:.1f} s" if window < 10 else f"{window:.0f} s"
    return f"tokens/s of the first and the last {part} of {one.minutes:.1f} minutes"


def _change(one: BenchSustained, field: str, unit: float, form: str) -> str:
    before, after = getattr(one.first, field), getattr(one.last, field)
    if before is None or after is None:
        return "-"
    return f"{before / unit:{form}} > {after / unit:{form}}"


def _interval(value: Value) -> str:
    return f"{rate(value.low)}-{rate(value.high)}"


def _exact(seconds: float) -> str:
    """A measured duration with three digits: "83 ms", "1.10 s", "12.3 s"."""
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
