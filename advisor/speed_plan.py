"""What a processor asks for a load, in seconds: what the estimates at grades `spec` and `calibrated` have in common."""

from __future__ import annotations

import msgspec

from advisor.evidence import Evidence


class Plan(msgspec.Struct, frozen=True):
    """A processor's seconds for a load: constants, and what each position in the cache adds."""

    overhead_s: float
    weights_s: dict[str, float]
    weights_total_s: float
    state_s: float
    cache: tuple[tuple[int | None, float, float], ...]  # window, seconds a position: decode, prompt
    prompt_s: float  # for a prompt
    batch_s: float  # for each micro-batch: reading the weights
    token_s: float  # for each prompt token
    head_s: float  # output head of the last token
    flash: tuple[
        tuple[float, float], tuple[float, float]
    ]  # factors on tg and pp without and with flash attention
    tg: tuple[float, float]  # interval, as factors on the rate
    pp: tuple[float, float]
    evidence: Evidence = "spec"
