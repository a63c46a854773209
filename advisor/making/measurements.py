"""Published speeds as rows that a fit can use: which chip, which processor, which load, how fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from advisor.processors import Processor
from advisor.speed import Load


@dataclass(frozen=True)
class Measurement:
    """One row of measurements.csv that is understood. `chip` is what leave-one-chip-out leaves out."""

    chip: str
    class_: str
    processor: Processor
    load: Load
    test: Literal["tg", "pp"]
    n_prompt: int
    n_gen: int
    depth: int
    threads: int | None
    flash_attention: bool | None
    rate: float  # tokens per second
    weight: float
    source: str = ""
    model: str = ""
    quant: str = ""
