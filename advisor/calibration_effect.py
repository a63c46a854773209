"""What a calibration changes: estimates of typical models before and after."""

from __future__ import annotations

import msgspec

from advisor.catalog import load_catalog
from advisor.evidence import Value
from advisor.load import load_of
from advisor.processors import processors
from advisor.speed import estimate_speed
from profiles.calibration import Calibration
from profiles.device import Device

TYPICAL = (
    ("Qwen2.5-0.5B-Instruct", "Q8_0"),
    ("Llama-3.2-1B-Instruct", "Q4_K_M"),
    ("Llama-3.2-3B-Instruct", "Q4_0"),
)
N_PROMPT, N_GEN = 512, 128


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens per second of one model on one backend, 512 tokens of prompt and 128 to answer."""

    model: str
    quant: str
    backend: str
    tg_before: Value
    tg_after: Value
    pp_before: Value
    pp_after: Value


def effect(device: Device, calibration: Calibration) -> tuple[Effect, ...]:
    """The typical models on each calibrated processor that can be estimated without its calibration too."""
    before = processors(msgspec.structs.replace(device, calibration=None))
    after = processors(msgspec.structs.replace(device, calibration=calibration))
    found = []
    for old, new in zip(before, after, strict=True):
        if new.calibration is None:
            continue
        if old.bandwidth_bytes_per_s is None:  # what a run without a calibration would have measured
            old = msgspec.structs.replace(old, bandwidth_bytes_per_s=new.bandwidth_bytes_per_s)
        for name, quant in TYPICAL:
            model = load_catalog().find(name)
            load = load_of(model, model.variant(quant))
            one = estimate_speed(old, load, n_prompt=N_PROMPT, n_gen=N_GEN)
            two = estimate_speed(new, load, n_prompt=N_PROMPT, n_gen=N_GEN)
            if one is not None and two is not None:
                found.append(
                    Effect(
                        model=model.name,
                        quant=quant,
                        backend=new.backend,
                        tg_before=one.tg,
                        tg_after=two.tg,
                        pp_before=one.pp,
                        pp_after=two.pp,
                    )
                )
    return tuple(found)
