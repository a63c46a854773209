"""A build before it begins, while it runs and once it is done, as documents and as text for people."""

from __future__ import annotations

from pathlib import Path

import msgspec

from advisor.language import marked
from advisor.preflight import Preflight, Span
from profiles.text import amount, seconds
from quantize.build import Order
from quantize.build_gptq import GptqOrder
from quantize.build_steps import Progress, Stage
from quantize.manifest import Manifest

STAGES: dict[Stage, str] = {
    "source": marked("weights"),
    "converter": marked("installing the converter"),
    "convert": marked("converting to GGUF"),
    "imatrix": marked("importance matrix"),
    "quantize": marked("quantizing"),
    "check": marked("checking every tensor"),
    "fidelity": marked("measuring fidelity"),
    "bench": marked("measuring speed"),
    "copy": marked("copying"),
    "done": marked("done"),
}
"""What a build does in each stage, in words."""


class PlanDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a build would do and need. `imatrix` and `fidelity` name the text they read, null where left out.

    `calibration` names the text that GPTQ reads, null for a GGUF.
    """

    model: str
    variant: str
    target: str
    source: str
    license: str | None
    download_bytes: int
    imatrix: str | None
    fidelity: str | None
    calibration: str | None = None
    seconds: Span | None
    needs: Preflight
    notes: tuple[str, ...]

    @classmethod
    def of(cls, order: Order | GptqOrder, needs: Preflight) -> PlanDocument:
        gptq = isinstance(order, GptqOrder)
        imatrix = None if isinstance(order, GptqOrder) else order.imatrix or order.calibration_text
        return cls(
            model=order.model.name,
            variant=order.variant,
            target=str(order.target),
            source=order.source.describe(),
            license=order.model.license,
            download_bytes=needs.download_bytes,
            imatrix=str(imatrix) if imatrix else None,
            fidelity=str(order.fidelity_text) if order.fidelity_text else None,
            calibration=str(order.calibration_text) if gptq else None,
            seconds=needs.seconds,
            needs=needs,
            notes=order.source.notes,
        )


def plan_text(plan: PlanDocument) -> str:
    """Some lines on what the build does, then a line for each stage."""
    needs = plan.needs
    lines = [
        f"{plan.model}:{plan.variant} in {plan.target}",
        f"  from      {plan.source}",
        *(f"            ({note})" for note in plan.notes),
        f"  licence   {plan.license or 'not known: look at the model page before you use it'}",
        f"  result    {amount(needs.result_bytes)}",
        f"  disk      {amount(needs.disk_bytes)} while it is built, {amount(needs.disk_free_bytes)} free",
    ]
    if needs.download_bytes:
        free = f", {amount(needs.cache_free_bytes)} free" if needs.cache_free_bytes is not None else ""
        lines.append(f"  download  {amount(needs.download_bytes)} to {needs.cache}{free}")
    if (new := needs.converter) is not None:
        lines += [
            f"  converter not installed; once, {amount(new.download_bytes)} to download and "
            f"{amount(new.disk_bytes)} to keep in",
            f"            {new.folder}, {amount(new.disk_free_bytes)} free",
        ]
    free = f", {amount(needs.memory_free_bytes)} free" if needs.memory_free_bytes is not None else ""
    lines.append(f"  memory    {amount(needs.memory_bytes)} at the peak{free}")
    lines.append("")
    for need in needs.stages:
        lines.append(
            f"  {STAGES[need.stage]:<24}{_span(need.seconds):>20}   {amount(need.memory_bytes):>8} of memory"
        )
    lines.append(f"  {'together':<24}{_span(needs.seconds):>20}")
    return "\n".join(lines) + "\n"


def progress_text(progress: Progress) -> str:
    """One line: the stage, how far it is, the rate and the time left."""
    parts = [STAGES[progress.stage]]
    if progress.total:
        share = progress.done / progress.total
        parts[0] += f" {share:.0%}"
        if progress.unit == "bytes":
            parts.append(f"{amount(progress.done)} of {amount(progress.total)}")
        else:
            parts.append(f"{progress.done} of {progress.total} {progress.unit}")
        if progress.done and progress.seconds > 1:
            rate = progress.done / progress.seconds
            if progress.unit == "bytes":
                parts.append(f"{amount(rate)}/s")
            parts.append(f"{seconds((progress.total - progress.done) / rate)} left")
    elif progress.done:
        parts.append(amount(progress.done))
    if progress.note:
        parts.append(progress.note)
    return ", ".join(parts)


def manifest_text(manifest: Manifest, folder: Path) -> str:
    """What was built and what it cost, in a few lines."""
    total = sum(manifest.seconds.values())
    lines = []
    for file in manifest.files:
        lines += [f"{folder / file.name}", f"  sha256    {file.sha256}"]
    size = sum(file.bytes for file in manifest.files)
    lines.append(f"  size      {amount(size)}, {manifest.bits_per_weight:.2f} bits per weight")
    lines.append(f"  source    {_source(manifest)}")
    imatrix = manifest.recipe.imatrix
    if imatrix is not None:
        lines.append(f"  imatrix   {imatrix.chunks} chunks of {', '.join(imatrix.texts)}")
        if imatrix.partial:
            lines.append(f"            {len(imatrix.partial)} tensors have experts that no token went to")
    found = manifest.fidelity
    if found is not None:
        lines += [
            f"  fidelity  KL divergence {_measured(found.kl_divergence.value, found.kl_divergence.standard_error)} "
            f"nats a token (99th percentile {found.kl_divergence_p99.value:.3f})",
            f"            perplexity {found.perplexity_increase.value:+.2%} ± "
            f"{found.perplexity_increase.standard_error:.2%}, same top token {found.same_top.value:.1%} ± "
            f"{found.same_top.standard_error:.1%}",
        ]
    if manifest.bench is not None:
        for rate in manifest.bench["runs"][0]["rates"]:
            value = rate["tokens_per_s"]
            interval = f"{value['low']:.1f} to {value['high']:.1f}"
            lines.append(f"  {rate['test']:<10}{value['value']:.1f} tokens/s ({interval})")
    lines += [f"  note      {note}" for note in manifest.notes]
    lines.append(f"  took      {seconds(total)}; {folder / 'manifest.json'} says how it was made")
    return "\n".join(lines) + "\n"


def _source(manifest: Manifest) -> str:
    source = manifest.source
    where = f"{source.repository} at {(source.revision or '')[:12]}" if source.repository else source.path
    return f"{where} ({source.precision or manifest.recipe.method})"


def _measured(value: float, error: float) -> str:
    return f"{value:.4f} ± {error:.4f}"


def _span(span: Span | None) -> str:
    if span is None:
        return "not known before"
    return f"{seconds(span.value)} ({_short(span.low)}-{_short(span.high)})"


def _short(value: float) -> str:
    return seconds(value).replace(" ", "")
