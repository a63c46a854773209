"""The fidelity of a built file as a document and as text for people."""

from __future__ import annotations

import msgspec

from advisor.gate import Limits, Verdict
from profiles.text import seconds
from quantize.fidelity import Fidelity, Measure


class FidelityDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`fidelity` as measured, and a verdict for each limit that was set."""

    built: str
    reference: str
    fidelity: Fidelity
    limits: Limits
    verdicts: tuple[Verdict, ...]


_DEMANDS = {
    "max_kld": "KL divergence at most",
    "max_ppl_increase": "perplexity increase at most",
    "min_same_top": "same top token at least",
}


def fidelity_text(document: FidelityDocument) -> str:
    """A line a measure with its standard error, then a line a limit."""
    found = document.fidelity
    lines = [
        f"built      {document.built}",
        f"reference  {document.reference}",
        f"text       {found.text}: {found.predictions:,} predictions, {found.chunks} chunks of {found.context} "
        f"tokens, {seconds(found.seconds)}",
        "",
        f"{'':<29}{'value':>10}   standard error",
        _line("perplexity of the built file", found.perplexity, ".4f"),
        _line("perplexity of the reference", found.reference_perplexity, ".4f"),
        _line("perplexity increase", found.perplexity_increase, ".2%", signed=True),
        _line("KL divergence, mean", found.kl_divergence, ".5f", unit=" nats"),
        _line("KL divergence, 99th percentile", found.kl_divergence_p99, ".4f", unit=" nats"),
        _line("same top token", found.same_top, ".2%"),
    ]
    if document.verdicts:
        lines.append("")
    for verdict in document.verdicts:
        show = ".4g" if verdict.limit == "max_kld" else ".2%"
        lines.append(
            f"{verdict.outcome}: {_DEMANDS[verdict.limit]} {verdict.bound:{show}}, "
            f"is {verdict.measured:{show}} ± {verdict.margin:{show}}"
        )
    if any(verdict.outcome == "too close to call" for verdict in document.verdicts):
        lines.append("More text makes the margin smaller: give a longer file with --text.")
    return "\n".join(lines) + "\n"


def _line(name: str, measure: Measure, show: str, *, unit: str = "", signed: bool = False) -> str:
    value = f"{measure.value:{'+' if signed else ''}{show}}"
    return f"{name:<30}{value:>10}   ± {measure.standard_error:{show}}{unit}"
