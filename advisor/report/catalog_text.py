"""Catalog documents as text for people: 80 columns, readable without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.report.catalog_documents import (
    REFERENCE_QUANT,
    CatalogCheckDocument,
    CatalogListDocument,
    CatalogModelDocument,
    ModelView,
)
from advisor.report.console import render
from profiles.text import amount, count

if TYPE_CHECKING:
    from rich.console import RenderableType

_LABEL = 13


def list_text(document: CatalogListDocument) -> str:
    """A table with one model a line."""
    if not document.models:
        return "No model fits these filters.\n"
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    table.add_column("model", overflow="fold", min_width=20)
    for heading in ("params", REFERENCE_QUANT, "context"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("licence", overflow="ellipsis", no_wrap=True, max_width=13)
    for model in document.models:
        table.add_row(
            model.name,
            _parameters(model),
            "-" if model.file_bytes is None else amount(model.file_bytes),
            "-" if model.context_length is None else _tokens(model.context_length),
            model.license or "not known",
        )
    unable = sum(not model.runnable for model in document.models)
    closing = f"\n{document.count} models"
    if unable:
        closing += f", {unable} of which llama.cpp cannot run ('catalog show' says why)"
    return render(table, closing + ".")


def model_text(document: CatalogModelDocument) -> str:
    """Everything about one model."""
    parts: list[RenderableType] = [f"{document.name}  ({document.id})", ""]
    parts += [_fact(label, text) for label, text in _facts(document) if text]
    if document.variants:
        parts += ["", _variants(document)]
    unchecked = sorted(
        fact for fact, text in document.sources.items() if text.startswith("general knowledge")
    )
    parts.append(_fact("sources", f"{len(document.sources)} facts with a source each; --json shows them"))
    if unchecked:
        parts.append(_fact("unchecked", ", ".join(unchecked)))
    return render(*parts)


def check_text(document: CatalogCheckDocument) -> str:
    """The problems, or that there are none."""
    lines = [str(problem) for problem in document.problems]
    files = f"{len(document.files)} file{'s' if len(document.files) != 1 else ''}"
    if lines:
        lines.append(f"{len(lines)} problem{'s' if len(lines) != 1 else ''} in {files}.")
    else:
        lines.append(f"{files}, {document.models} models: no problem.")
    return "\n".join(lines) + "\n"


def _facts(document: CatalogModelDocument) -> list[tuple[str, str]]:
    arch = document.architecture
    shape = ""
    if arch is not None:
        shape = f"{arch.name}: {arch.n_layer} blocks, {arch.n_embd} wide, {arch.n_head} heads"
        shape += f" ({arch.n_head_kv} for KV)" if arch.n_head_kv != arch.n_head else ""
        shape += f", vocabulary {arch.n_vocab:,}"
    confirmed = "confirmed by the parameter count" if document.verified else "NOT confirmed"
    gated = {True: ", gated: log in to the Hub", False: "", None: ""}[document.gated]
    return [
        ("cannot run", document.unsupported or ""),
        ("family", document.family),
        ("released", document.release_date or "not known"),
        ("parameters", f"{document.parameters:,}" + _active(document)),
        ("dimensions", f"{shape}; {confirmed}" if shape else ""),
        (
            "context",
            "not known" if document.context_length is None else f"{document.context_length:,} tokens",
        ),
        (
            "licence",
            f"{document.license} ({document.license_class}{gated})"
            if document.license
            else f"not known{gated}",
        ),
        ("languages", " ".join(document.languages) if document.languages else "not known"),
        ("made for", ", ".join(document.tasks)),
        ("modality", document.modality if document.modality != "text" else ""),
        ("weights", document.weights or ""),
        ("GGUF", " ".join(document.gguf_repos)),
        ("Ollama", document.ollama or ""),
        ("also known as", ", ".join(document.aliases)),
        *(("note", note) for note in document.notes),
    ]


def _fact(label: str, text: str) -> RenderableType:
    from rich.table import Table

    line = Table.grid(padding=(0, 1))
    line.add_column(width=_LABEL)
    line.add_column(overflow="fold")
    line.add_row(label, text)
    return line


def _variants(document: CatalogModelDocument) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    table.add_column("quant", no_wrap=True)
    for heading in ("file", "bits/weight", "read a token"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("remark")
    for variant in document.variants:
        remarks = ["needs an importance matrix"] if variant.needs_imatrix else []
        remarks += [] if variant.exact else ["size estimated"]
        table.add_row(
            variant.quant,
            amount(variant.file_bytes),
            f"{variant.bits_per_weight:.2f}",
            amount(variant.read_bytes_per_token),
            "; ".join(remarks),
        )
    return table


def _parameters(model: ModelView) -> str:
    return count(model.parameters) + (f"/{count(model.parameters_active)}" if model.parameters_active else "")


def _active(model: ModelView) -> str:
    return f", {model.parameters_active:,} active for a token" if model.parameters_active else ""


def _tokens(n: int) -> str:
    """A context length: "32k", "1M"."""
    if n >= 1 << 20:
        return f"{n / (1 << 20):.3g}M"
    return f"{n / 1024:.3g}k" if n >= 1024 else str(n)
