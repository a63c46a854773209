"""Synthetic models of every architecture in the catalog, held against the engine."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from advisor.catalog import Model, load_catalog
from advisor.sizes import tensor_types
from profiles.engine.client import Engine
from profiles.engine.protocol import LoadModel, ModelLoaded, OpenContext, RunTest, TestTiming
from profiles.throughput import require
from quantize.architecture import Architecture, tensors
from quantize.gguf_writer import TensorInfo
from quantize.slices import slice_of, slice_types, smallest_slice
from quantize.synthetic import SAMPLE_BLOCKS, sampled_types, write_synthetic

pytestmark = pytest.mark.engine

# The engine of llama-cpp-python 0.3.36 loops forever in its rotary embedding on a PLaMo 2 whose first block has no
# attention, which is how the converter writes it: it reads the number of heads of that block, 0, and rotates 0.
HANGS = {"plamo2"}


def smallest() -> dict[str, Model]:
    """Of each architecture the smallest model that the engine runs."""
    found: dict[str, Model] = {}
    for model in sorted(load_catalog().models, key=lambda model: model.parameters):
        if model.runnable and model.architecture:
            found.setdefault(model.architecture.name, model)
    return found


# The default run tries one of each way to compute; `-m slow` tries them all.
SOME = (
    "llama",
    "gemma3n",
    "qwen3moe",
    "deepseek2",
    "granitehybrid",
    "qwen35",
    "lfm2",
    "falcon-h1",
    "gpt-oss",
)
NAMES = [pytest.param(name, marks=() if name in SOME else pytest.mark.slow) for name in sorted(smallest())]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    pytest.importorskip("llama_cpp")
    with Engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def judge() -> Iterator[subprocess.Popen[str]]:
    """Says of a file whether what it computes is finite."""
    script = Path(__file__).parent.parent / "quantize" / "logits.py"
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_every_tensor_has_the_bytes_that_the_catalog_says(engine: Engine) -> None:
    """Of every architecture: shapes from our description, types from the engine's dry run, sums in the catalog."""
    for name, model in smallest().items():
        assert model.architecture is not None
        types = tensor_types(model.architecture, "Q4_K_M", engine)
        assert types.keys() == {tensor.name for tensor in tensors(model.architecture)}, name
        sizes: Counter[str] = Counter()
        for tensor in tensors(model.architecture):
            sizes[types[tensor.name]] += TensorInfo(tensor.name, tensor.shape, types[tensor.name]).bytes
        assert sizes == Counter(model.variant("Q4_K_M").bytes_by_type), name


@pytest.mark.parametrize("name", NAMES)
def test_a_slice_runs_and_what_it_computes_is_finite(
    name: str, engine: Engine, judge: subprocess.Popen[str], tmp_path: Path
) -> None:
    """With a small vocabulary and few experts. NaN in a router would crash the engine, or send tokens nowhere."""
    if name in HANGS:
        pytest.skip("the engine never comes back from it")
    arch = small(smallest()[name])
    types = tensor_types(arch, "Q4_K_M", engine)
    part = slice_of(arch, types, smallest_slice(arch))
    own = slice_types(part, types)
    blocks = require(engine.sample_blocks(sampled_types(own.values()), SAMPLE_BLOCKS)).data
    path = tmp_path / "slice.gguf"
    write_synthetic(part.architecture, own, path, blocks)
    loaded = require(engine.load_model(LoadModel(str(path))))
    assert isinstance(loaded, ModelLoaded)
    assert loaded.n_vocab == arch.n_vocab
    assert loaded.tensor_bytes == sum(
        TensorInfo(tensor.name, tensor.shape, own[tensor.name]).bytes for tensor in tensors(part.architecture)
    )
    require(engine.open_context(OpenContext(n_ctx=64)))
    timing = require(engine.run_test(RunTest(n_prompt=16, n_gen=4)))
    assert isinstance(timing, TestTiming)
    assert timing.prompt_s
    assert timing.gen_s
    assert judge.stdin is not None
    assert judge.stdout is not None
    judge.stdin.write(f"{path}\n")
    judge.stdin.flush()
    assert judge.stdout.readline() == "finite\n"


def small(model: Model) -> Architecture:
    arch = model.architecture
    assert arch is not None
    moe = arch.moe
    if moe is not None:
        moe = msgspec.structs.replace(moe, n_expert=max(8, 2 * moe.n_expert_used))
    return msgspec.structs.replace(arch, n_vocab=512, moe=moe)
