"""A deployment manifest as text for people."""

from __future__ import annotations

from advisor.evidence import Value
from advisor.manifest import DeploymentManifest, PinnedSettings, Requirements, Speeds
from profiles.text import amount, rate, seconds


def manifest_text(manifest: DeploymentManifest) -> str:
    """Which deployment, with which settings, what is known of it and what must hold; a line each."""
    file = manifest.file
    lines = [manifest.label]
    if file is None:
        lines.append("  file      none yet: what is verified is the estimate")
    else:
        lines += [f"  file      {file.name}, {amount(file.bytes)}", f"  sha256    {file.sha256}"]
    lines.append(f"  licence   {manifest.model.license or 'not known'}")
    lines.append(f"  for       {manifest.device.name or 'a device without a name'}, {manifest.workload.task}")
    lines.append(f"  settings  {settings_text(manifest.settings, manifest.backend)}")
    for name, speeds in (("predicted", manifest.predicted), ("measured", manifest.measured)):
        if speeds is not None:
            lines += _speeds(name, speeds)
    fidelity = manifest.fidelity
    if fidelity is not None:
        lines.append(
            f"  fidelity  KL divergence {fidelity.kl_divergence.value:.4f} nats, perplexity "
            f"{fidelity.perplexity_increase.value:+.2%}, same top {fidelity.same_top.value:.1%}"
        )
    wanted = requirement_texts(manifest.requires)
    lines += [f"  {'requires' if i == 0 else '':<10}{text}" for i, text in enumerate(wanted or ("nothing",))]
    lines += [f"  note      {note}" for note in manifest.notes]
    return "\n".join(lines) + "\n"


def settings_text(settings: PinnedSettings, backend: str) -> str:
    """Settings in a line."""
    parts = [
        f"{backend}, context {settings.context_length}",
        f"KV cache {settings.type_k}" + (f"/{settings.type_v}" if settings.type_v != settings.type_k else ""),
        f"micro-batch {settings.micro_batch}",
    ]
    if settings.offload_layers:
        parts.append(f"{settings.offload_layers} of {settings.n_layer + 1} layers offloaded")
    if settings.threads is not None:
        both = settings.threads_batch not in (None, settings.threads)
        parts.append(
            f"threads {settings.threads}" + (f" ({settings.threads_batch} for prompts)" if both else "")
        )
    return ", ".join(parts)


def requirement_texts(requires: Requirements) -> list[str]:
    """What must hold, a text each."""
    fidelity = requires.fidelity
    texts = []
    if requires.max_memory_bytes is not None:
        texts.append(f"memory of at most {amount(requires.max_memory_bytes)}")
    if requires.min_tg_tokens_per_s is not None:
        texts.append(f"{rate(requires.min_tg_tokens_per_s)} tokens/s or more")
    if requires.min_pp_tokens_per_s is not None:
        texts.append(f"prompts at {rate(requires.min_pp_tokens_per_s)} tokens/s or more")
    if requires.max_ttft_s is not None:
        texts.append(f"first token within {seconds(requires.max_ttft_s)}")
    if fidelity.max_kld is not None:
        texts.append(f"KL divergence of at most {fidelity.max_kld:g} nats")
    if fidelity.max_ppl_increase is not None:
        texts.append(f"perplexity at most {fidelity.max_ppl_increase:.2%} higher")
    if fidelity.min_same_top is not None:
        texts.append(f"same top token in {fidelity.min_same_top:.1%} or more")
    if requires.licenses:
        texts.append(f"licence {' or '.join(requires.licenses)}")
    return texts


def _speeds(name: str, speeds: Speeds) -> list[str]:
    parts = []
    if speeds.tg_tokens_per_s is not None:
        parts.append(f"{_interval(speeds.tg_tokens_per_s)} tokens/s")
    if speeds.pp_tokens_per_s is not None:
        parts.append(f"prompts {_interval(speeds.pp_tokens_per_s)} tokens/s")
    if speeds.ttft_s is not None:
        parts.append(f"first token {seconds(speeds.ttft_s.value)}")
    if speeds.memory_bytes is not None:
        parts.append(f"memory {amount(speeds.memory_bytes.value)}")
    evidence = next(
        (value.evidence for value in (speeds.tg_tokens_per_s, speeds.pp_tokens_per_s) if value), None
    )
    grade = f" ({evidence})" if evidence and evidence != name else ""
    return [f"  {name if i == 0 else '':<10}{part}{grade if i == 0 else ''}" for i, part in enumerate(parts)]


def _interval(value: Value) -> str:
    return f"{rate(value.value)} ({rate(value.low)} to {rate(value.high)})"
