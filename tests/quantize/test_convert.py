"""Converting safetensors: real models of seven architectures, in the real environment, and all that can go wrong."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from profiles.engine.client import Engine
from profiles.engine.protocol import ContextOpened, LoadModel, ModelLoaded, OpenContext, RunTest, TestTiming
from quantize.architecture import from_gguf_metadata, from_hf_config
from quantize.convert import (
    Converter,
    ConvertProgress,
    InstallProgress,
    convert,
    expected_bytes,
    find_converter,
    install_converter,
    read_folder,
)
from quantize.converter.environment import RUNNER
from quantize.errors import ConversionError, InvalidModelError
from quantize.gguf_header import read_header
from tests.quantize.predictions import predictions
from tests.quantize.tiny_folders import ARCHITECTURES, make_tiny_folder

pytestmark = pytest.mark.slow

TOKENS = (1, 300, 42, 777, 5, 610)


@pytest.fixture(scope="module")
def installed() -> Iterator[tuple[Converter, list[InstallProgress]]]:
    """The environment, made once in a data folder that is removed afterwards, and what was told of it."""
    with (
        tempfile.TemporaryDirectory(prefix="slm-advisor-test-") as data,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_DATA_HOME", data)
        told: list[InstallProgress] = []
        yield install_converter(told.append), told


@pytest.fixture(scope="module")
def converter(installed: tuple[Converter, list[InstallProgress]]) -> Converter:
    return installed[0]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for each architecture, made when first asked for."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def tiny(folders: Path, tmp_path: Path) -> Path:
    """A llama to be spoiled."""
    folder = made(folders, "llama")
    return shutil.copytree(folder, tmp_path / "models" / "tiny")


def made(folders: Path, architecture: str) -> Path:
    folder = folders / architecture
    if not folder.exists():
        make_tiny_folder(architecture, folder)
    return folder


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_environment_tells_how_it_comes_to_be(
    installed: tuple[Converter, list[InstallProgress]],
) -> None:
    converter, told = installed
    phases = list(dict.fromkeys(progress.phase for progress in told))
    assert phases == ["creating", "downloading", "installing", "trying"]
    source = [progress for progress in told if progress.what == "llama_cpp_python-0.3.36.tar.gz"]
    assert source[-1].total_bytes == pytest.approx(76_600_000, rel=0.01)
    assert 0 < source[-1].done_bytes <= source[-1].total_bytes
    assert converter.versions.keys() >= {"llama-cpp-python", "torch", "transformers"}
    assert find_converter() == converter
    assert {path.name for path in Path(converter.folder).parent.iterdir()} == {
        Path(converter.folder).name,
        f".{Path(converter.folder).name}.lock",
    }


def test_an_environment_that_is_there_is_not_made_again(converter: Converter) -> None:
    assert install_converter(lambda progress: pytest.fail(f"{progress}")) == converter


@pytest.mark.engine
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_converted_model_is_what_transformers_runs(
    architecture: str, folders: Path, converter: Converter, tmp_path: Path
) -> None:
    """Nothing lost, nothing permuted wrongly: the engine predicts from it what transformers predicts."""
    folder, out = made(folders, architecture), tmp_path / "model.gguf"
    told: list[ConvertProgress] = []
    facts = convert(folder, out, report=told.append)
    header = read_header(out)
    model = read_folder(folder)

    assert list(tmp_path.iterdir()) == [out]
    assert (facts.precision, facts.parameters) == ("bf16", model.weights.parameters)
    assert facts.file_bytes == out.stat().st_size == pytest.approx(expected_bytes(model), rel=0.01)
    assert (told[0].phase, told[-1].phase, told[-1].done_bytes) == (
        "reading",
        "checking",
        told[-1].total_bytes,
    )
    assert from_gguf_metadata(header.metadata, header.shapes) == from_hf_config(model.config)

    here, there = np.array(predictions(out, TOKENS)), transformers_predictions(folder)
    assert np.abs(here - there).max() < 0.05 * there.std()

    with Engine(timeout_s=120) as engine:
        assert isinstance(engine.load_model(LoadModel(str(out))), ModelLoaded)
        assert isinstance(engine.open_context(OpenContext(64)), ContextOpened)
        assert isinstance(engine.run_test(RunTest(n_prompt=16, n_gen=4)), TestTiming)


def transformers_predictions(folder: Path) -> np.ndarray:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        logits: np.ndarray = model(torch.tensor([TOKENS])).logits[0, -1].numpy()
    return logits


def test_weights_in_full_float_keep_it(tmp_path: Path, converter: Converter) -> None:
    """llama.cpp's own `auto` would make them F16."""
    make_tiny_folder("llama", tmp_path / "model", dtype="float32")
    facts = convert(tmp_path / "model", tmp_path / "model.gguf")
    assert facts.precision == "f32"
    assert convert(tmp_path / "model", tmp_path / "model.gguf", outtype="f16").precision == "f16"


def test_the_file_bears_the_name_that_is_given(tiny: Path, tmp_path: Path, converter: Converter) -> None:
    """A folder in the Hub's cache is named by a commit."""
    cached = tiny.rename(tiny.with_name("12fd25f77366fa6b3b4b768ec3050bf629380bac"))
    convert(cached, tmp_path / "model.gguf", name="SmolLM2-135M-Instruct")
    assert read_header(tmp_path / "model.gguf").metadata["general.name"] == "SmolLM2-135M-Instruct"


def test_what_transformers_5_writes_is_understood(
    folders: Path, converter: Converter, tmp_path: Path
) -> None:
    """The converter's transformers is older and knows neither this tokenizer class nor where the rotated share is."""
    folder = shutil.copytree(made(folders, "gptneox"), tmp_path / "model")
    change(
        folder / "tokenizer_config.json",
        tokenizer_class="TokenizersBackend",
        extra_special_tokens=["<|im_start|>"],
    )
    rope = {"rope_type": "default", "rope_theta": 10000, "partial_rotary_factor": 0.5}
    change(folder / "config.json", rope_parameters=rope)
    convert(folder, tmp_path / "model.gguf")
    header = read_header(tmp_path / "model.gguf")
    assert header.metadata["gptneox.rope.dimension_count"] == 32


def test_a_damaged_shard_is_found_before_anything_runs(
    tiny: Path, tmp_path: Path, converter: Converter
) -> None:
    weights = tiny / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 1000)
    refused(tiny, tmp_path, InvalidModelError, r"model\.safetensors is cut off")


def test_an_architecture_without_a_converter_is_refused(
    tiny: Path, tmp_path: Path, converter: Converter
) -> None:
    change(tiny / "config.json", architectures=["OPTForCausalLM"], model_type="opt")
    refused(
        tiny,
        tmp_path,
        ConversionError,
        r"the architecture OPTForCausalLM is not known to llama\.cpp's converter",
    )


def test_an_unknown_tokenizer_is_refused(folders: Path, tmp_path: Path, converter: Converter) -> None:
    folder = shutil.copytree(made(folders, "qwen3"), tmp_path / "models" / "tiny")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "Whitespace"}
    folder.joinpath("tokenizer.json").write_text(json.dumps(tokenizer))
    refused(folder, tmp_path, ConversionError, "its tokenizer is not known")


def test_weights_of_another_model_are_refused(tiny: Path, tmp_path: Path, converter: Converter) -> None:
    """The converter does not mind; the engine would."""
    change(tiny / "config.json", num_hidden_layers=3)
    refused(tiny, tmp_path, ConversionError, r"9 tensors are missing, first 'blk\.2\.")


CODE = """
from pathlib import Path
Path({evidence!r}).touch()
from transformers import PretrainedConfig, PreTrainedTokenizerFast
class Config(PretrainedConfig):
    model_type = "llama"
class Tokenizer(PreTrainedTokenizerFast):
    pass
"""


def bring_code(folder: Path, evidence: Path) -> None:
    folder.joinpath("code.py").write_text(CODE.format(evidence=str(evidence)))
    change(folder / "config.json", auto_map={"AutoConfig": "code.Config"})
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["code.Tokenizer", "code.Tokenizer"]})


def test_code_in_the_folder_is_not_run(tiny: Path, tmp_path: Path, converter: Converter) -> None:
    """A model that can be read without its code is converted, as Phi 3 can."""
    bring_code(tiny, tmp_path / "evidence")
    convert(tiny, tmp_path / "model.gguf")
    assert {path.name for path in tmp_path.iterdir()} == {"models", "model.gguf"}


def test_a_tokenizer_that_is_code_is_refused(folders: Path, tmp_path: Path, converter: Converter) -> None:
    """The converter loads this one with trust_remote_code=True."""
    folder = shutil.copytree(made(folders, "qwen3"), tmp_path / "models" / "tiny")
    bring_code(folder, tmp_path / "evidence")
    change(folder / "config.json", architectures=["QWenLMHeadModel"], model_type="qwen")
    change(folder / "tokenizer_config.json", tokenizer_class="Tokenizer")
    refused(
        folder,
        tmp_path,
        ConversionError,
        r"brings code of its own \(code\.Config\), which slm-advisor never runs",
    )


def test_the_runner_refuses_code_even_where_it_sees_it(
    folders: Path, tmp_path: Path, converter: Converter
) -> None:
    """The second lock, without the first: the folder is given as it is."""
    folder = shutil.copytree(made(folders, "qwen3"), tmp_path / "tiny")
    bring_code(folder, tmp_path / "evidence")
    change(folder / "config.json", architectures=["QWenLMHeadModel"], model_type="qwen")
    command = [converter.python, "-I", str(RUNNER), str(folder), "--outfile", str(tmp_path / "out.gguf")]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert not (tmp_path / "evidence").exists()


def test_the_runner_reaches_no_network(tmp_path: Path, converter: Converter) -> None:
    command = [converter.python, "-I", "-c", f"""
import runpy, sys, socket
sys.argv = ["runner", "--versions"]
runpy.run_path({str(RUNNER)!r}, run_name="__main__")
socket.create_connection(("127.0.0.1", 9))
"""]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stderr.splitlines()[-1] == "OSError: a conversion uses no network"


CONVERSION = """
import sys
from pathlib import Path
from quantize.convert import convert
def report(progress):
    print(progress.phase, flush=True)
convert(Path(sys.argv[1]), Path(sys.argv[2]), report=report)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_conversion_leaves_no_process_and_no_file(
    number: signal.Signals, tiny: Path, tmp_path: Path, converter: Converter
) -> None:
    """After SIGKILL nobody can remove the files, but the converter still ends."""
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", CONVERSION, str(tiny), str(out / "model.gguf")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        wait_for(lambda: converters(out) != [])
        time.sleep(0.5)
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode != 0
    wait_for(lambda: converters(out) == [])
    assert not (out / "model.gguf").exists()
    if number is not signal.SIGKILL:
        assert list(out.iterdir()) == []


def converters(out: Path) -> list[int]:
    """Converters that write below `out`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if str(RUNNER) in words and any(word.startswith(str(out)) for word in words):
                found.append(process.pid)
    return found


def wait_for(condition: object, seconds: float = 20) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def refused(folder: Path, tmp_path: Path, kind: type[Exception], message: str) -> None:
    """The conversion fails so, and leaves a file that was there and nothing else."""
    out = tmp_path / "out"
    out.mkdir()
    out.joinpath("model.gguf").write_bytes(b"of yesterday")
    with pytest.raises(kind, match=message):
        convert(folder, out / "model.gguf")
    assert [path.name for path in out.iterdir()] == ["model.gguf"]
    assert out.joinpath("model.gguf").read_bytes() == b"of yesterday"
    assert not (tmp_path / "evidence").exists()
