"""Texts that ship with the program: one to calibrate with, one to measure with, with no passage in common.

Both hold English prose, Japanese prose and source code in Python, C, JavaScript, SQL and shell, in turns, all
written for this project and under its licence. `CALIBRATION` has more than 20 chunks of 512 tokens with the
tokenizers of current models, `HELD_OUT` nine or more.
"""

from __future__ import annotations

from pathlib import Path

CALIBRATION = Path(__file__).parent / "calibration.txt"
HELD_OUT = Path(__file__).parent / "held-out.txt"
