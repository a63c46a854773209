"""What is refused before the converter starts, what it may see, and what its failures and results mean."""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from profiles.data_folder import locked
from quantize.architecture import Architecture, from_hf_config, tensors
from quantize.convert import (
    convert,
    converter_plan,
    expected_bytes,
    find_converter,
    full_precision,
    install_converter,
    memory_bytes,
    read_folder,
)
from quantize.converter import llama_cpp
from quantize.converter.checks import check_result
from quantize.converter.failures import failure
from quantize.converter.folder import ModelFolder, show
from quantize.errors import (
    ConversionError,
    ConverterInstallError,
    ConverterMissingError,
    InvalidModelError,
    NoRoomError,
    TooLittleMemoryError,
)
from quantize.gguf_header import Header, read_header
from quantize.skeleton import write_skeleton
from tests.quantize.safetensors import header, write

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
}


@pytest.fixture(autouse=True)
def no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder as far as headers go."""
    folder = tmp_path / "model"
    folder.mkdir()
    folder.joinpath("config.json").write_text(json.dumps(CONFIG))
    folder.joinpath("tokenizer.json").write_text("{}")
    write(folder / "model.safetensors", header({"model.embed_tokens.weight": ("BF16", (1000, 256))}))
    return folder


def configure(folder: Path, **values: object) -> None:
    folder.joinpath("config.json").write_text(json.dumps(CONFIG | values))


# --- what is refused


def test_without_the_environment_it_says_what_installs_it(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConverterMissingError, match="not installed: slm-advisor build"):
        convert(folder, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"has no config\.json"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            r"pickles \(pytorch_model\.bin\), which can run code",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
        (
            lambda folder: (folder / "config.json").rename(folder / "adapter_config.json"),
            r"an adapter \(LoRA\) and no model",
        ),
    ],
)
def test_a_folder_that_is_no_model_is_refused(spoil: Any, message: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(ConversionError, match=message):
        read_folder(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"[]", b"\xff"])
def test_a_config_that_is_none_is_refused(content: bytes, folder: Path) -> None:
    folder.joinpath("config.json").write_bytes(content)
    with pytest.raises(InvalidModelError, match=r"config\.json (is damaged|does not hold an object)"):
        read_folder(folder)


def test_what_was_quantized_already_is_refused(folder: Path, tmp_path: Path) -> None:
    configure(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(ConversionError, match=r"is quantized already \(gptq\)"):
        convert(folder, tmp_path / "model.gguf")
    with pytest.raises(ConverterMissingError):
        convert(folder, tmp_path / "model.gguf", allow_quantized=True)


# --- what the converter sees


def test_the_converter_sees_no_code_and_no_pickles(folder: Path, tmp_path: Path) -> None:
    for name in ("modeling_llama.py", "pytorch_model.bin", "optimizer.pt", "notes.txt", "README.md"):
        folder.joinpath(name).write_text("x")
    configure(
        folder, auto_map={"AutoConfig": "modeling_llama.Config"}, nested={"auto_map": "x--y.Z", "kept": 1}
    )
    tokenizer = {"auto_map": {"AutoTokenizer": ["modeling_llama.Tokenizer", None]}, "bos_token": "<s>"}
    folder.joinpath("tokenizer_config.json").write_text(json.dumps(tokenizer))
    model = read_folder(folder)
    assert model.code == ("modeling_llama.Config", "modeling_llama.Tokenizer")

    place = tmp_path / "shown"
    place.mkdir()
    show(model, place)
    assert {path.name for path in place.iterdir()} == {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
        "notes.txt",
        "README.md",
    }
    assert json.loads((place / "config.json").read_text()) == CONFIG | {"nested": {"kept": 1}}
    assert json.loads((place / "tokenizer_config.json").read_text()) == {"bos_token": "<s>"}
    assert "auto_map" in folder.joinpath("config.json").read_text()  # the original is as it was


def test_the_plan_follows_the_weights(folder: Path) -> None:
    model = read_folder(folder)
    assert full_precision(model) == "bf16"
    # 1.9 million parameters by config.json, of 2 bytes, and 1,000 tokens; the embedding is the largest tensor.
    assert expected_bytes(model) == pytest.approx(3_370_000, rel=0.02)
    assert memory_bytes(model) == 300_000_000 + 8 * 256_000
    assert memory_bytes(model, "f32") == 300_000_000 + 4 * 256_000


# --- what failures mean


@pytest.mark.parametrize(
    ("code", "said", "kind", "message"),
    [
        (1, "OSError: [Errno 28] No space left on device", NoRoomError, "the disk became full"),
        (-9, "INFO:gguf: writing", TooLittleMemoryError, "memory ran out"),
        (
            1,
            "ValueError: Can not map tensor 'model.x.weight'",
            ConversionError,
            r"the tensor model\.x\.weight has no",
        ),
        (
            1,
            "NotImplementedError: Quant method is not yet supported: 'awq'",
            ConversionError,
            "method 'awq' cannot",
        ),
        (
            1,
            "FileNotFoundError: File not found: /m/tokenizer.model",
            ConversionError,
            "its tokenizer is incomplete",
        ),
        (1, "", ConversionError, "exit code 1, and it said nothing"),
        (
            1,
            "INFO: x\nTraceback:\n  File y\n    z\nKeyError: 'rotary'\n",
            ConversionError,
            r"failed\n    KeyError: 'rota",
        ),
    ],
)
def test_last_words_are_explained(
    code: int, said: str, kind: type[Exception], message: str, folder: Path
) -> None:
    with pytest.raises(kind, match=message):
        raise failure(code, said, read_folder(folder), "the converter")


# --- what the result must be


@pytest.fixture
def result(folder: Path, tmp_path: Path) -> tuple[Header, ModelFolder]:
    """What a conversion of the folder gives, as far as headers go."""
    write_skeleton(from_hf_config(CONFIG), tmp_path / "model.gguf")
    return read_header(tmp_path / "model.gguf"), read_folder(folder)


def test_a_complete_result_is_accepted(result: tuple[Header, ModelFolder]) -> None:
    check_result(*result)


def test_a_lost_tensor_is_found(result: tuple[Header, ModelFolder]) -> None:
    made, model = result
    kept = tuple(tensor for tensor in made.tensors if tensor.name != "blk.1.ffn_up.weight")
    with pytest.raises(ConversionError, match=r"1 tensors are missing, first 'blk\.1\.ffn_up\.weight'"):
        check_result(msgspec.structs.replace(made, tensors=kept), model)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"intermediate_size": 1024},
            r"tensor 'blk\.0\.ffn_down\.weight' is \(512, 256\) and should be \(1024, 256\)",
        ),
        ({"partial_rotary_factor": 0.5}, "n_rot is None and should be 32"),
    ],
)
def test_a_result_of_other_dimensions_is_found(
    values: dict[str, Any], message: str, result: tuple[Header, ModelFolder]
) -> None:
    made, model = result
    with pytest.raises(ConversionError, match=message):
        check_result(made, msgspec.structs.replace(model, config=CONFIG | values))


def test_rows_without_a_token_may_be_left_out(result: tuple[Header, ModelFolder]) -> None:
    made, model = result
    check_result(made, msgspec.structs.replace(model, config=CONFIG | {"vocab_size": 1024}))


def test_an_architecture_that_is_not_known_must_keep_all_weights(
    result: tuple[Header, ModelFolder], folder: Path
) -> None:
    made, _ = result
    configure(folder, model_type="of-tomorrow")
    promised: Architecture = from_hf_config(CONFIG)
    whole = {f"language.{tensor.name}": ("BF16", tensor.shape) for tensor in tensors(promised)}
    seen = {
        "vision_tower.patch_embed.weight": ("BF16", (64, 64)),
        "layers.0.rotary_emb.inv_freq": ("F32", (32,)),
    }
    write(folder / "model.safetensors", header(whole | seen))
    check_result(made, read_folder(folder))
    write(folder / "model.safetensors", header(whole | {"language.extra.weight": ("BF16", (1, 7))}))
    with pytest.raises(ConversionError, match=r"weights went in and [\d,]+ came out"):
        check_result(made, read_folder(folder))


# --- the environment


def test_torch_comes_without_cuda_unless_any_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = converter_plan()
    assert plan.requirements[0] == ("torch==2.13.0+cpu" if sys.platform == "linux" else "torch==2.13.0")
    assert 10**8 < plan.download_bytes < plan.disk_bytes < 2 * 10**9
    monkeypatch.setenv("SLM_ADVISOR_TORCH", "any")
    assert converter_plan().requirements[0] == "torch==2.13.0"
    assert converter_plan().folder == plan.folder


def test_what_a_killed_installation_left_is_no_environment(tmp_path: Path) -> None:
    place = Path(converter_plan().folder)
    half = place.with_name(f".{place.name}-x1y2") / "environment" / "bin"
    half.mkdir(parents=True)
    half.joinpath("python").touch()
    assert find_converter() is None


def test_an_environment_whose_python_was_removed_is_none(tmp_path: Path) -> None:
    place = Path(converter_plan().folder)
    place.joinpath("bin").mkdir(parents=True)
    place.joinpath("converter.json").write_text('{"versions": {"llama-cpp-python": "0.3.36"}}')
    place.joinpath("bin", "python").symlink_to(tmp_path / "python3.10")
    assert find_converter() is None
    tmp_path.joinpath("python3.10").touch()
    found = find_converter()
    assert found is not None
    assert found.version == "llama.cpp's converter (of llama-cpp-python 0.3.36)"


@pytest.mark.slow
def test_two_do_not_install_at_once() -> None:
    place = Path(converter_plan().folder)
    with (
        locked(place),
        pytest.raises(ConverterInstallError, match="another process is installing the converter"),
    ):
        install_converter(lambda progress: None)


@pytest.mark.slow
def test_without_a_network_it_says_so_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from quantize.errors import ConverterDownloadError

    settings = {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "0",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConverterDownloadError, match="SLM_ADVISOR_TORCH=any takes") as caught:
        install_converter(lambda progress: None)
    log = Path(str(caught.value).rpartition("the whole output: ")[2])
    assert "127.0.0.1" in log.read_text()
    log.unlink()
    place = Path(converter_plan().folder)
    assert [path.name for path in place.parent.iterdir()] == [f".{place.name}.lock"]


def test_only_the_converter_is_taken_out_of_the_archive_that_was_tested(tmp_path: Path) -> None:
    root = f"llama_cpp_python-{llama_cpp.VERSION}/vendor/llama.cpp"
    archive = tmp_path / "source.tar.gz"
    one = tmp_path / "one"
    one.write_text("text")
    with tarfile.open(archive, "w:gz") as content:
        for name in (
            f"{root}/conversion/base.py",
            f"{root}/src/llama.cpp",
            f"{root}/conversion/../../evil.py",
        ):
            content.add(one, name)
    with pytest.raises(ConverterInstallError, match="is not the file that slm-advisor was tested with"):
        llama_cpp.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    llama_cpp.unpack(archive, tmp_path / "out", sha256=hashlib.sha256(archive.read_bytes()).hexdigest())
    written = [path for path in tmp_path.rglob("*.py") if path.is_file()]
    assert written == [tmp_path / "out" / "conversion" / "base.py"]
