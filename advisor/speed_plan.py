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


class Ceiling(msgspec.Struct, frozen=True):
    """What no load is quicker than on a processor, by tensor type.

    A type takes no time where data sheets do not decide: a measurement may say anything.
    """

    decode_s: dict[str, float]  # for each byte that a token reads
    prompt_s: dict[str, float]  # for each weight that a token of a prompt is multiplied with
    tg_low: float  # low ends of the intervals, as factors on the rate
    pp_low: float

    def with_help_of(self, other: Ceiling) -> Ceiling:
        """Of this processor with a part of the work, whatever its size, on another."""
        return Ceiling(
            {kind: min(seconds, other.decode_s.get(kind, 0.0)) for kind, seconds in self.decode_s.items()},
            {kind: min(seconds, other.prompt_s.get(kind, 0.0)) for kind, seconds in self.prompt_s.items()},
            self.tg_low,
            self.pp_low,
        )


NO_CEILING = Ceiling({}, {}, 1.0, 1.0)
