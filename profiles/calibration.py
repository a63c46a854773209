"""What a device can do with llama.cpp, as a micro-benchmark measured it: rates by tensor type, overheads, threads.

`slm-advisor calibrate` measures it (advisor/calibrate.py), profiles/calibration_store.py keeps it, and
advisor/speed_calibrated.py predicts with it. A device file may carry it to another machine, so every number has
bounds (`problem_of`): a prediction divides by most of them.

Times are in seconds, rates in bytes or weights per second. Tuples, not dictionaries: a calibration is part of the key
under which predictions are remembered.
"""

from __future__ import annotations

import msgspec

from profiles.backends import Backend

FORMAT = 2
"""Changes when what is measured changes its meaning; a calibration of another format is not used."""


class TypeRate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tensor type. `derived_from` names the measured type its rates were worked out from; None: measured."""

    type: str
    decode_bytes_per_s: float  # of weights, generating
    row_s: float = 0.0  # of each row of a matrix, generating: none where rows are interleaved at load
    prompt_weights_per_s: float  # weights times tokens, processing a prompt
    batch_share: float  # what a batch costs beside its tokens, in units of reading the weights once
    derived_from: str | None = None


class KindCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What blocks of one kind cost beyond their matrices and the overhead of an attention block."""

    kind: str  # as `quantize.architecture.layers` names them; "experts" counts routed feed-forward networks
    block_s: float = 0.0  # of a generated token, for each block
    state_s_per_byte: float = 0.0  # of a generated token, for each byte of state that is read or written
    prompt_state_s_per_byte: float = 0.0  # of a prompt token
    prompt_factor: float = 1.0  # time of the kind's matrices in a prompt, in units of other matrices'


class ThreadRate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a number of threads reaches: read bandwidth, and tokens per second of one small model."""

    threads: int
    tg_tokens_per_s: float
    pp_tokens_per_s: float
    bandwidth_bytes_per_s: float | None = None


class BackendCalibration(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, cache_hash=True
):
    """One backend with all layers on it.

    Generating a token takes

        token_s + blocks x block_s + sum over types of (bytes / decode_bytes_per_s + rows x row_s) + costs of kinds
        + positions x (heads x head_s + operations x attention_s_per_flop + bytes x cache_s_per_byte)

    and a prompt

        batches x sum over types of (batch_share x time of reading the weights) + tokens x (sum over types of
        weights / prompt_weights_per_s + blocks x n_embd x element_s + positions x operations / prompt_attention_flops)
    """

    backend: Backend
    accelerator: int | None = None  # index in `Device.accelerators`; None: the CPU
    threads: int  # fastest to generate; of the CPU beside an accelerator
    threads_batch: int  # fastest to process prompts
    token_s: float
    block_s: float
    element_s: float
    head_s: float
    attention_s_per_flop: float
    cache_s_per_byte: float
    prompt_attention_flops: float
    types: tuple[TypeRate, ...]
    kinds: tuple[KindCost, ...] = ()
    by_threads: tuple[ThreadRate, ...] = ()


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All backends of a device, with what makes it stale: another engine, another device."""

    format: int = FORMAT
    at: str  # ISO 8601, UTC
    seconds: float  # that measuring took
    fingerprint: str  # of the device
    engine: str  # identity of the installed engine
    backends: tuple[BackendCalibration, ...]
    noise: tuple[str, ...] = ()  # what disturbed
    notes: tuple[str, ...] = ()  # what was not measured, and why

    def of(self, backend: Backend, accelerator: int | None) -> BackendCalibration | None:
        """The calibration of one backend of the device; None where it was not measured."""
        return next(
            (own for own in self.backends if own.backend == backend and own.accelerator == accelerator), None
        )


_LIST_LIMIT = 128
# field -> (smallest, largest): outside of it no device is
_BOUNDS: dict[str, tuple[float, float]] = {
    "threads": (1, 8192),
    "threads_batch": (1, 8192),
    "token_s": (0.0, 10.0),
    "block_s": (0.0, 1.0),
    "element_s": (0.0, 1e-3),
    "batch_share": (0.0, 20.0),
    "head_s": (0.0, 1e-3),
    "row_s": (0.0, 1e-3),
    "attention_s_per_flop": (0.0, 1e-6),
    "cache_s_per_byte": (0.0, 1e-5),
    "prompt_attention_flops": (1e6, 1e17),
    "decode_bytes_per_s": (1e5, 1e15),
    "prompt_weights_per_s": (1e6, 1e17),
    "state_s_per_byte": (0.0, 1e-5),
    "prompt_state_s_per_byte": (0.0, 1e-5),
    "prompt_factor": (0.1, 100.0),
    "tg_tokens_per_s": (1e-6, 1e7),
    "pp_tokens_per_s": (1e-6, 1e8),
    "bandwidth_bytes_per_s": (1e6, 1e15),
    "seconds": (0.0, 1e5),
    "accelerator": (0, 64),
}


def problem_of(calibration: Calibration) -> str | None:
    """What is wrong with a calibration from a file, with the path of the field; None where nothing is."""
    if calibration.format != FORMAT:
        return f"calibration.format: {calibration.format} is not the one this version reads ({FORMAT})"
    parts: list[tuple[str, msgspec.Struct]] = [("calibration.", calibration)]
    for i, own in enumerate(calibration.backends):
        path = f"calibration.backends[{i}]"
        if not own.types:
            return f"{path}.types: a calibration without a tensor type predicts nothing"
        parts.append((path + ".", own))
        for name in ("types", "kinds", "by_threads"):
            parts += [(f"{path}.{name}[{j}].", part) for j, part in enumerate(getattr(own, name))]
    for path, struct in parts:
        for field in struct.__struct_fields__:
            value = getattr(struct, field)
            if isinstance(value, tuple) and len(value) > _LIST_LIMIT:
                return f"{path}{field}: {len(value)} of them, at most {_LIST_LIMIT}"
            if isinstance(value, str) and len(value) > 500:
                return f"{path}{field}: longer than 500 characters"
            low, high = _BOUNDS.get(field, (None, None))
            if value is None or low is None or high is None:
                continue
            if not low <= value <= high:  # also refuses NaN
                shown = f"{value:g}" if abs(value) < 1e300 else "a number of hundreds of digits"
                return f"{path}{field}: {shown} cannot be; allowed is {low:g} to {high:g}"
    return None
