"""Documents as text for people: 80 columns, readable without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.confirm import Confirmation
from advisor.evidence import GRADES, Evidence, Value
from advisor.report.console import render
from advisor.report.documents import (
    DeploymentView,
    ExplanationDocument,
    RecommendationDocument,
    VariantVerdict,
)
from profiles.text import amount, count, rate, seconds

if TYPE_CHECKING:
    from rich.console import RenderableType


MARKS: dict[Evidence, tuple[str, str]] = {
    "spec": ("~", "from data sheets"),
    "calibrated": ("c", "from a calibration of this device"),
    "probed": ("p", "probed here"),
    "measured": ("m", "measured here"),
}


def recommendation_text(document: RecommendationDocument, *, verbose: bool = False) -> str:
    from rich.text import Text

    parts: list[RenderableType] = [_header(document), Text()]
    if document.recommendations:
        parts.append(_ranking(document.recommendations))
        parts.append(Text())
        parts.append(
            f"tok/s and seconds (80% interval): {_legend(document.recommendations)}.\n"
            "Memory: high end of the estimate.\n"
            "Best first: quality, less where it is uncertain, more for speed and little memory.\n"
            "* nothing else is better in quality, speed and memory at once."
        )
        if verbose:
            for deployment in document.recommendations:
                parts.append(Text())
                parts.extend(deployment_lines(deployment))
        else:
            first = document.recommendations[0]
            parts.append(Text())
            parts.append(f"Why {first.name}:{first.quant}")
            parts.extend(f"  - {reason}" for reason in first.why)
    else:
        parts.append("Nothing fits.")
        for miss in document.nearest_misses:
            deployment = miss.deployment
            parts.append(f"\n{deployment.name}:{deployment.quant} comes near:")
            parts.extend(f"  - {shortfall.message}" for shortfall in deployment.shortfalls)
            if miss.changes:
                parts.append(f"  It would fit if you {miss.changes[0].message}.")
            elif miss.together:
                parts.append(
                    f"  It would fit if you {', and '.join(change.message for change in miss.together)}."
                )
    if document.confirmations:
        parts.append("\nRun here:")
        parts.extend(f"  - {_confirmation(each)}" for each in document.confirmations)
    if document.ruled_out:
        counts = ", ".join(f"{constraint} {number}" for constraint, number in document.ruled_out.items())
        parts.append(f"\n{document.fitting} of {document.considered} models fit. Ruled out by: {counts}.")
    parts.extend(f"Note: {note}." for note in document.notes)
    return render(*parts)


def explanation_text(document: ExplanationDocument) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    parts: list[RenderableType] = [_header(document), "", document.summary + "."]
    if document.deployment is not None and document.fits:
        parts.extend(f"  - {reason}" for reason in document.deployment.why)
    if document.changes:
        parts.append("\nAny one of these would let it in:")
        parts.extend(f"  - {change.message}" for change in document.changes)
    if document.together:
        parts.append("\nNo single change would let it in; all of these would:")
        parts.extend(f"  - {change.message}" for change in document.together)
    if document.variants:
        parts.append("")
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
        for heading in ("quant", "bits", "file", "memory", "min tok/s", "quality"):
            table.add_column(heading, justify="left" if heading == "quant" else "right", no_wrap=True)
        table.add_column("ruled out by")
        for variant in document.variants:
            table.add_row(
                variant.quant,
                f"{variant.bits_per_weight:.2f}",
                amount(variant.file_bytes),
                "-" if variant.memory_bytes is None else amount(variant.memory_bytes),
                "-" if variant.tg_tokens_per_s is None else rate(variant.tg_tokens_per_s.low),
                "-" if variant.quality is None else f"{variant.quality:.1f}",
                "fits" if variant.fits else _ruled_out_by(variant),
            )
        parts.append(table)
        parts.append("\nMemory: high end. Tokens/s: low end. The limits are held against these.")
    parts.extend(f"Note: {note}." for note in document.notes)
    return render(*parts)


def deployment_lines(deployment: DeploymentView) -> list[RenderableType]:
    """One deployment with every term, as indented lines."""
    settings, memory = deployment.settings, deployment.memory
    lines = [
        f"{deployment.name}:{deployment.quant}  ({deployment.model})",
        f"  {count(deployment.parameters)} parameters, {deployment.bits_per_weight:.2f} bits per weight, "
        f"file {amount(deployment.file_bytes)}, licence {deployment.license or 'not known'}",
        f"  on {deployment.processor or 'unnamed'} ({deployment.backend}), "
        f"{settings.offload_layers} of {settings.n_layer + 1} layers offloaded",
        f"  context {settings.context_length}, KV {settings.type_k}/{settings.type_v}, "
        f"micro-batch {settings.micro_batch}",
        f"  memory      {_bytes_interval(memory.reserved_bytes)} reserved",
        f"              {_bytes_interval(memory.resident_bytes)} resident",
    ]
    lines += [
        f"    {name.removesuffix('_bytes'):<22}{amount(size):>10}"
        for name, size in memory.terms.items()
        if size
    ]
    if deployment.tg_tokens_per_s and deployment.pp_tokens_per_s and deployment.ttft_s:
        lines += [
            f"  generation  {_interval(deployment.tg_tokens_per_s)} tokens/s, {deployment.tg_tokens_per_s.evidence}",
            f"  prompt      {_interval(deployment.pp_tokens_per_s)} tokens/s, {deployment.pp_tokens_per_s.evidence}",
            f"  first token {seconds(deployment.ttft_s.value)} "
            f"({seconds(deployment.ttft_s.low)} to {seconds(deployment.ttft_s.high)})",
        ]
        lines += _measured_lines(deployment)
        lines += [f"    {name:<30}{value * 1000:>10.3f} ms" for name, value in deployment.speed_terms.items()]
    quality = deployment.quality
    if quality.value is None or quality.low is None or quality.high is None:
        lines.append("  quality     not known: no published score")
    else:
        lines.append(f"  quality     {quality.value:.1f} ({quality.low:.1f} to {quality.high:.1f})")
        lines += [f"    {axis:<22}{value:>10.1f}" for axis, value in quality.axes.items()]
        if quality.quantization_loss is not None:
            lines.append(f"    {'lost to quantization':<22}{quality.quantization_loss.points:>10.1f}")
    lines += [f"  note: {note}" for note in quality.notes]
    lines += [f"  ! {shortfall.message}" for shortfall in deployment.shortfalls]
    return list(lines)


def _ruled_out_by(variant: VariantVerdict) -> str:
    """The constraints in one word each, so that three of them stay on a line."""
    short = {"host memory": "memory", "accelerator memory": "memory", "decode speed": "tok/s"}
    words = (short.get(shortfall.constraint, shortfall.constraint) for shortfall in variant.shortfalls)
    return ", ".join(dict.fromkeys(words))


def _header(document: RecommendationDocument | ExplanationDocument) -> str:
    device, workload = document.device, document.workload
    lines = [f"{device.name or 'This device'}: {', '.join(device.processors) or 'no processor'}"]
    if device.host_budget_bytes is not None:
        other = ""
        if device.budget == "now" and device.budget_cleared_bytes is not None:
            other = f" ({amount(device.budget_cleared_bytes)} with other applications closed)"
        word = {"now": "free now", "cleared": "with other applications closed", "given": "as you said"}[
            device.budget
        ]
        own = device.accelerator_budget_bytes
        if own is not None and device.accelerator_shares_memory and own < device.host_budget_bytes:
            other += f", {amount(own)} of it for the accelerator"
        lines.append(f"Memory: {amount(device.host_budget_bytes)} {word}{other}")
    if device.accelerator_budget_bytes is not None and not device.accelerator_shares_memory:
        lines.append(f"Accelerator memory: {amount(device.accelerator_budget_bytes)}")
    languages = f" in {', '.join(workload.languages)}" if workload.languages else ""
    lines.append(
        f"Task: {workload.task}{languages}, context {workload.context_length}, at least "
        f"{rate(workload.min_tg_tokens_per_s)} tok/s, first token in {seconds(workload.max_ttft_s)}"
    )
    return "\n".join(lines)


def _ranking(deployments: tuple[DeploymentView, ...]) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("model", overflow="fold", min_width=20)
    table.add_column("quant", no_wrap=True)
    for heading in ("quality", "tok/s", "first", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for deployment in deployments:
        tg, ttft, quality = deployment.tg_tokens_per_s, deployment.ttft_s, deployment.quality.value
        table.add_row(
            f"{'*' if deployment.pareto else ''}{deployment.rank}",
            deployment.name,
            deployment.quant,
            "-" if quality is None else f"{quality:.1f}",
            "-" if tg is None else _marked(tg, _interval(tg)),
            "-" if ttft is None else _marked(ttft, seconds(ttft.value)),
            amount(deployment.memory.reserved_bytes.high),
        )
    return table


def _interval(value: Value) -> str:
    return f"{rate(value.value)} ({rate(value.low)}-{rate(value.high)})"


def _bytes_interval(value: Value) -> str:
    return f"{amount(value.value)} ({amount(value.low)} to {amount(value.high)})"


def _confirmation(each: Confirmation) -> str:
    name = f"{each.name}:{each.quant}"
    if each.outcome == "refused":
        return f"{name} is left out, the engine refuses it: {each.reason}"
    if each.found_tg is None:
        return f"{name} keeps its estimate: {each.reason}"
    expected = "" if each.expected_tg is None else f", estimated {_interval(each.expected_tg)}"
    return f"{name} generates {_interval(each.found_tg)} tokens/s{expected}"


def _marked(value: Value, text: str) -> str:
    """The text with the mark of its grade before it, which the legend explains."""
    return MARKS[value.evidence][0] + text


def _legend(deployments: tuple[DeploymentView, ...]) -> str:
    """What the marks in the table mean, worst grade first."""
    shown = [value for d in deployments for value in (d.tg_tokens_per_s, d.ttft_s) if value is not None]
    grades = {value.evidence for value in shown}
    return ", ".join(" ".join(MARKS[grade]) for grade in GRADES if grade in grades) or "not known"


def _measured_lines(deployment: DeploymentView) -> list[str]:
    """Where measured speeds come from."""
    lines = []
    for origin in deployment.measurements:
        what = "generation" if origin.speed == "tg" else "prompt"
        of = f"of {origin.file}" if origin.file else "with made-up weights"
        scaled = "" if origin.exact else ", scaled from there"
        when = f"{origin.at[:10]} {origin.at[11:16]} UTC"
        lines.append(
            f"    {what} {origin.evidence} here {when}: {origin.test} {of} gave "
            f"{rate(origin.tokens_per_s)} tokens/s{scaled}"
        )
    return lines
