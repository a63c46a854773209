"""A deployment manifest as text for people."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

from advisor.evidence import Value
from advisor.language import _, marked
from advisor.manifest import DeploymentManifest, PinnedSettings, Requirements, Speeds
from advisor.sentences import translated
from profiles.text import amount, rate, seconds

LABEL_CELLS = 10
GRADES = {
    "spec": marked("spec"),
    "calibrated": marked("calibrated"),
    "probed": marked("probed"),
    "measured": marked("measured"),
}


def manifest_text(manifest: DeploymentManifest) -> str:
    """Which deployment, with which settings, what is known of it and what must hold; a line each."""
    file = manifest.file
    lines = [manifest.label]
    if file is None:
        lines.append(_line(_("file"), _("none yet: what is verified is the estimate")))
    else:
        lines += [_line(_("file"), f"{file.name}, {amount(file.bytes)}"), _line("sha256", file.sha256)]
    lines.append(_line(_("licence"), manifest.model.license or _("not known")))
    device = manifest.device.name or _("a device without a name")
    lines.append(_line(_("for"), f"{device}, {_(manifest.workload.task)}"))
    lines.append(_line(_("settings"), settings_text(manifest.settings, manifest.backend)))
    for name, speeds in ((marked("predicted"), manifest.predicted), (marked("measured"), manifest.measured)):
        if speeds is not None:
            lines += _speeds(name, speeds)
    fidelity = manifest.fidelity
    if fidelity is not None:
        words = _(
            "KL divergence {divergence:.4f} nats, perplexity {increase:+.2%}, same top {same:.1%}"
        ).format(
            divergence=fidelity.kl_divergence.value,
            increase=fidelity.perplexity_increase.value,
            same=fidelity.same_top.value,
        )
        lines.append(_line(_("fidelity"), words))
    wanted = requirement_texts(manifest.requires)
    lines += [_line("" if i else _("requires"), text) for i, text in enumerate(wanted or [_("nothing")])]
    lines += [_line(_("note"), translated(note)) for note in manifest.notes]
    return "\n".join(lines) + "\n"


def _line(label: str, text: str) -> str:
    return f"  {set_cell_size(label, max(LABEL_CELLS, cell_len(label) + 1))}{text}"


def settings_text(settings: PinnedSettings, backend: str) -> str:
    """Settings in a line."""
    parts = [
        _("{backend}, context {tokens}").format(backend=backend, tokens=settings.context_length),
        _("KV cache {type}").format(type=settings.type_k)
        + (f"/{settings.type_v}" if settings.type_v != settings.type_k else ""),
        _("micro-batch {tokens}").format(tokens=settings.micro_batch),
    ]
    if settings.offload_layers:
        parts.append(
            _("{layers} of {all} layers offloaded").format(
                layers=settings.offload_layers, all=settings.n_layer + 1
            )
        )
    if settings.threads is not None:
        both = settings.threads_batch not in (None, settings.threads)
        parts.append(
            _("threads {threads}").format(threads=settings.threads)
            + (_(" ({threads} for prompts)").format(threads=settings.threads_batch) if both else "")
        )
    return ", ".join(parts)


def requirement_texts(requires: Requirements) -> list[str]:
    """What must hold, a text each."""
    fidelity = requires.fidelity
    texts = []
    if requires.max_memory_bytes is not None:
        texts.append(_("memory of at most {size}").format(size=amount(requires.max_memory_bytes)))
    if requires.min_tg_tokens_per_s is not None:
        texts.append(_("{rate} tokens/s or more").format(rate=rate(requires.min_tg_tokens_per_s)))
    if requires.min_pp_tokens_per_s is not None:
        texts.append(_("prompts at {rate} tokens/s or more").format(rate=rate(requires.min_pp_tokens_per_s)))
    if requires.max_ttft_s is not None:
        texts.append(_("first token within {seconds}").format(seconds=seconds(requires.max_ttft_s)))
    if fidelity.max_kld is not None:
        texts.append(_("KL divergence of at most {limit:g} nats").format(limit=fidelity.max_kld))
    if fidelity.max_ppl_increase is not None:
        texts.append(_("perplexity at most {limit:.2%} higher").format(limit=fidelity.max_ppl_increase))
    if fidelity.min_same_top is not None:
        texts.append(_("same top token in {limit:.1%} or more").format(limit=fidelity.min_same_top))
    if requires.licenses:
        texts.append(_("licence {names}").format(names=_(" or ").join(requires.licenses)))
    return texts


def _speeds(name: str, speeds: Speeds) -> list[str]:
    parts = []
    if speeds.tg_tokens_per_s is not None:
        parts.append(_("{rate} tokens/s").format(rate=_interval(speeds.tg_tokens_per_s)))
    if speeds.pp_tokens_per_s is not None:
        parts.append(_("prompts {rate} tokens/s").format(rate=_interval(speeds.pp_tokens_per_s)))
    if speeds.ttft_s is not None:
        parts.append(_("first token {seconds}").format(seconds=seconds(speeds.ttft_s.value)))
    if speeds.memory_bytes is not None:
        parts.append(_("memory {size}").format(size=amount(speeds.memory_bytes.value)))
    evidence = next(
        (value.evidence for value in (speeds.tg_tokens_per_s, speeds.pp_tokens_per_s) if value), None
    )
    grade = f" ({_(GRADES[evidence])})" if evidence and evidence != name else ""
    return [_line("" if i else _(name), part + ("" if i else grade)) for i, part in enumerate(parts)]


def _interval(value: Value) -> str:
    return _("{value} ({low} to {high})").format(
        value=rate(value.value), low=rate(value.low), high=rate(value.high)
    )
