"""A calibration like the one of a desktop computer, for tests that predict with it."""

from __future__ import annotations

from profiles.calibration import BackendCalibration, Calibration, KindCost, ThreadRate, TypeRate

BATCH_SHARE = 0.8

TYPES = {  # bytes/s to generate, seconds a row, weights/s for prompts
    "Q8_0": (43e9, 10e-9, 150e9),
    "Q4_K": (40e9, 0.0, 270e9),
    "Q4_0": (41e9, 0.0, 330e9),
    "Q6_K": (45e9, 12e-9, 350e9),
    "F16": (50e9, 8e-9, 210e9),
    "F32": (50e9, 8e-9, 210e9),
    "Q5_0": (33e9, 14e-9, 110e9),
}

CPU = BackendCalibration(
    backend="cpu",
    threads=4,
    threads_batch=8,
    token_s=1e-4,
    block_s=2e-5,
    element_s=1.2e-8,
    head_s=3.9e-9,
    attention_s_per_flop=1.15e-11,
    cache_s_per_byte=2.2e-11,
    prompt_attention_flops=1.1e11,
    types=tuple(
        TypeRate(
            type=name,
            decode_bytes_per_s=decode,
            row_s=row,
            prompt_weights_per_s=prompt,
            batch_share=BATCH_SHARE,
        )
        for name, (decode, row, prompt) in TYPES.items()
    ),
    kinds=(
        KindCost(kind="experts", block_s=5e-5, prompt_factor=2.9),
        KindCost(kind="deltanet", block_s=2.2e-5, state_s_per_byte=8e-11, prompt_state_s_per_byte=3e-11),
    ),
    by_threads=(
        ThreadRate(threads=1, tg_tokens_per_s=100.0, pp_tokens_per_s=400.0, bandwidth_bytes_per_s=3e10),
        ThreadRate(threads=4, tg_tokens_per_s=250.0, pp_tokens_per_s=1500.0, bandwidth_bytes_per_s=6e10),
        ThreadRate(threads=8, tg_tokens_per_s=220.0, pp_tokens_per_s=2500.0, bandwidth_bytes_per_s=6e10),
    ),
)

CALIBRATION = Calibration(
    at="2026-11-23T23:00:00Z",
    seconds=42.0,
    fingerprint="0123456789abcdef",
    engine="llama-cpp-python 0.3.36 (1a2b3c4d)",
    backends=(CPU,),
)
