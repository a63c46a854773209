"""A probe as text for people."""

from __future__ import annotations

from advisor.evidence import Value
from advisor.probe_times import Terms
from advisor.report.console import render
from advisor.report.probe_documents import ProbeDocument
from profiles.text import amount, rate, seconds


def probe_text(document: ProbeDocument) -> str:
    """What was found beside what was predicted, how it was found, and what it is made of."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("tokens/s (80% interval)")
    for heading in ("probed", "predicted"):
        table.add_column(heading, justify="right")
    pp, tg = document.pp_tokens_per_s, document.tg_tokens_per_s
    table.add_row(f"prompt of {document.n_prompt} tokens", _rate(pp.probed), _rate(pp.predicted))
    table.add_row(f"generating {document.n_gen} after it", _rate(tg.probed), _rate(tg.predicted))
    first = document.ttft_s
    lines = [
        f"First token after {seconds(first.value)} ({seconds(first.low)} to {seconds(first.high)}).",
        f"How: {_how(document)}.",
        f"A generated token: {_terms(tg.terms)}.",
    ]
    lines += [f"Noise: {reason}." for reason in document.noise]
    lines += [f"Note: {note}" for note in document.notes]
    head = f"{document.name}:{document.quant} on {document.device or 'this device'}, {_settings(document)}"
    return render(head, "", table, "", *lines)


def _settings(document: ProbeDocument) -> str:
    settings = document.settings
    threads = f"{settings.threads} threads"
    if settings.threads_batch != settings.threads:
        threads += f" ({settings.threads_batch} for prompts)"
    offloaded = f", {settings.offload_layers} layers offloaded" if settings.offload_layers else ""
    return (
        f"{settings.backend}{offloaded}, {threads}, "
        f"KV cache {settings.type_k}/{settings.type_v}, micro-batch {settings.micro_batch}"
    )


def _how(document: ProbeDocument) -> str:
    what = "the whole model"
    if document.how == "slices":
        counts = ", ".join(str(n) for n in document.slices)
        what = f"slices of {counts} layers, extrapolated to {document.n_layer}"
    if document.timed_prompt < document.n_prompt:
        what += f"; {document.timed_prompt} tokens of the prompt at two depths"
    return (
        f"{what}; synthetic weights ({amount(document.file_bytes)}), {document.rounds} rounds "
        f"in {seconds(document.seconds)}"
    )


def _terms(terms: Terms) -> str:
    parts = [(terms.outside_s, "outside the layers"), (terms.blocks_s, "in the layers")]
    if terms.outside_s is None:
        parts = [(terms.blocks_s, "for weights and work")]
    parts.append((terms.attention_s, "for the KV cache"))
    told = [f"{1000 * value:.3g} ms {what}" for value, what in parts if value is not None]
    return f"{1000 * terms.total_s:.3g} ms, of them {', '.join(told)}"


def _rate(value: Value | None) -> str:
    if value is None:
        return "not known"
    return f"{rate(value.value)} ({rate(value.low)} to {rate(value.high)})"
