"""The document of `slm-advisor probe`."""

from __future__ import annotations

from typing import Literal

import msgspec

from advisor.evidence import Value
from advisor.probe import ProbeResult
from advisor.probe_times import Terms
from profiles.device import Backend


class ProbeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How it was run. `threads` generate, `threads_batch` process prompts."""

    backend: Backend
    offload_layers: int
    threads: int
    threads_batch: int
    micro_batch: int
    type_k: str
    type_v: str
    flash_attention: bool


class ProbedRate(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens/s that were probed, the prediction without them (null: none), and the seconds they are made of."""

    probed: Value
    predicted: Value | None
    terms: Terms


class ProbeDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`probe`: a model's throughput here by synthetic weights.

    Rates hold for a prompt of `n_prompt` tokens, and for the middle of the `n_gen` tokens that follow. `slices` are
    the numbers of layers that were timed and extrapolated to `n_layer`. `timed_prompt`: tokens of the prompt that
    was timed; where they are fewer than `n_prompt`, the rest is extrapolated.
    """

    device: str | None
    model: str
    name: str
    quant: str
    settings: ProbeSettings
    n_prompt: int
    n_gen: int
    pp_tokens_per_s: ProbedRate
    tg_tokens_per_s: ProbedRate
    ttft_s: Value
    how: Literal["whole", "slices"]
    slices: tuple[int, ...]
    n_layer: int
    timed_prompt: int
    rounds: int
    file_bytes: int
    seconds: float
    noise: tuple[str, ...]
    notes: tuple[str, ...]


def probe_document(result: ProbeResult, device: str | None, notes: tuple[str, ...] = ()) -> ProbeDocument:
    """The document of a result; `notes` are told besides the device's own conditions."""
    assert result.model.architecture is not None
    settings = result.settings
    return ProbeDocument(
        device=device,
        model=result.model.id,
        name=result.model.name,
        quant=result.variant.quant,
        settings=ProbeSettings(
            backend=result.backend,
            offload_layers=settings.offload_layers,
            threads=result.threads,
            threads_batch=result.threads_batch,
            micro_batch=settings.micro_batch,
            type_k=settings.type_k,
            type_v=settings.type_v,
            flash_attention=result.flash_attention,
        ),
        n_prompt=result.n_prompt,
        n_gen=result.n_gen,
        pp_tokens_per_s=ProbedRate(probed=result.pp, predicted=result.predicted_pp, terms=result.prompt),
        tg_tokens_per_s=ProbedRate(probed=result.tg, predicted=result.predicted_tg, terms=result.decode),
        ttft_s=result.ttft_s,
        how="slices" if result.slices else "whole",
        slices=result.slices,
        n_layer=result.model.architecture.n_layer,
        timed_prompt=result.timed_prompt,
        rounds=result.rounds,
        file_bytes=result.file_bytes,
        seconds=result.seconds,
        noise=result.noise,
        notes=(*result.conditions, *notes),
    )
