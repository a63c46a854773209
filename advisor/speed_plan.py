"""What a processor asks for a load, in seconds: what the estimates at grades `spec` and `calibrated` have in common."""

from __future__ import annotations

import math

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


class Ceiling(msgspec.Struct, frozen=True):
    """Rates that no load exceeds on a processor; infinite where data sheets do not decide."""

    read_bytes_per_s: float  # of weights, in decoding
    prompt_weights_per_s: float  # multiplied with a token of a prompt
    tg_low: float  # low ends of the intervals, as factors on the rate
    pp_low: float

    def with_help_of(self, other: Ceiling) -> Ceiling:
        """Of this processor with a part of the work, whatever its size, on another."""
        return Ceiling(
            max(self.read_bytes_per_s, other.read_bytes_per_s),
            max(self.prompt_weights_per_s, other.prompt_weights_per_s),
            self.tg_low,
            self.pp_low,
        )


NO_CEILING = Ceiling(math.inf, math.inf, 1.0, 1.0)
