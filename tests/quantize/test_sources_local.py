"""Weights on this disk: what is taken as a source, what is refused and with which words."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quantize.errors import InvalidModelError, QuantizeError, SourceError, SourceNotFoundError
from quantize.sources.fetch import fetch
from quantize.sources.find import find_source
from quantize.sources.names import is_repository, is_revision, is_safe
from quantize.sources.safetensors import precision_of
from quantize.sources.settings import hub_settings
from quantize.sources.source import FetchProgress, Source
from tests.quantize.tiny_weights import tiny_gguf, tiny_model, tiny_safetensors, tiny_split_gguf, write_model


def source_at(path: Path) -> Source:
    return find_source(path, weights="maker/never-asked", gguf_repos=["never/asked"])


# --- GGUF


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_a_local_gguf_wins_and_is_hashed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_gguf(kind))
    source = source_at(path)
    assert (source.kind, source.origin, source.precision, source.path) == ("gguf", "local", kind, path)
    assert (source.license, source.download_bytes) == ("apache-2.0", 0)
    told: list[FetchProgress] = []
    fetched = fetch(source, told.append)
    assert (fetched.path, fetched.precision) == (path, kind)
    assert fetched.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told[-1] == FetchProgress("checking", "model.gguf", source.bytes, source.bytes)


def test_a_quantized_gguf_is_refused_since_quality_would_be_lost_twice(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_gguf("Q4_K"))
    with pytest.raises(SourceError, match=r"quantized already \(mostly Q4_K\).*loses quality"):
        source_at(path)


def test_any_part_of_a_split_gguf_stands_for_all(tmp_path: Path) -> None:
    paths = [tmp_path / f"model-BF16-0000{number}-of-00002.gguf" for number in (1, 2)]
    for path, content in zip(paths, tiny_split_gguf("BF16"), strict=True):
        path.write_bytes(content)
    source = source_at(paths[1])
    assert source.path == paths[0]
    assert [file.name for file in source.files] == [path.name for path in paths]
    assert [file.path for file in fetch(source).files] == paths
    paths[0].unlink()
    with pytest.raises(SourceError, match=r"model-BF16-00001-of-00002\.gguf is missing"):
        source_at(paths[1])


def test_parts_of_another_split_do_not_add_up(tmp_path: Path) -> None:
    first, _, third = tiny_split_gguf("BF16", parts=3)
    (tmp_path / "m-00001-of-00002.gguf").write_bytes(first)
    (tmp_path / "m-00002-of-00002.gguf").write_bytes(third)
    with pytest.raises(InvalidModelError, match="has 2 tensors in its parts and should have 3"):
        source_at(tmp_path / "m-00001-of-00002.gguf")


def test_a_projector_or_adapter_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(tiny_gguf(extra={"general.type": "mmproj"}))
    with pytest.raises(SourceError, match="is no language model but mmproj"):
        source_at(path)
    path.write_bytes(tiny_gguf(extra={"general.architecture": "clip"}))
    with pytest.raises(SourceError, match="an image encoder"):
        source_at(path)


def test_a_cut_gguf_is_named_as_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(tiny_gguf()[:-100])
    with pytest.raises(InvalidModelError, match="cut off"):
        source_at(path)


def test_what_is_not_there_or_is_half_of_something_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="does not exist"):
        source_at(tmp_path / "nothing")
    write_model(tmp_path / "ggufs", {"a.gguf": tiny_gguf(), "b.gguf": tiny_gguf()})
    with pytest.raises(SourceError, match=r"give one of them \(a\.gguf\)"):
        source_at(tmp_path / "ggufs")
    write_model(tmp_path / "model", tiny_model())
    with pytest.raises(SourceError, match="give its folder"):
        source_at(tmp_path / "model" / "model.safetensors")


def test_the_weights_of_a_users_own_model_may_be_a_path(tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(tiny_gguf())
    source = find_source(None, weights=str(tmp_path / "mine.gguf"))
    assert source.path == tmp_path / "mine.gguf"


def test_a_path_of_a_users_own_model_that_is_gone_is_named() -> None:
    with pytest.raises(SourceNotFoundError, match=r"/gone/mine\.gguf does not exist"):
        find_source(None, weights="/gone/mine.gguf")


def test_local_weights_need_nothing_of_huggingface_hub(tmp_path: Path) -> None:
    """Nor of numpy: only headers are read."""
    (tmp_path / "mine.gguf").write_bytes(tiny_gguf())
    script = (
        "import sys\nfrom pathlib import Path\nfrom quantize.sources.fetch import fetch\n"
        "from quantize.sources.find import find_source\n"
        "fetch(find_source(Path(sys.argv[1]), weights=None))\n"
        "print({'huggingface_hub', 'httpx', 'httpx2', 'numpy', 'gguf'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "mine.gguf")]
    done = subprocess.run(command, text=True, capture_output=True, timeout=60, check=True)
    assert done.stdout == "set()\n"


# --- folders


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_a_local_folder_is_taken_with_what_converting_needs(tmp_path: Path, shards: int, kind: str) -> None:
    files = tiny_model(shards, kind)
    folder = write_model(tmp_path, {**files, "README.md": b"#", "pytorch_model.bin": b"x"})
    source = source_at(folder)
    assert (source.kind, source.precision) == ("safetensors", kind)
    assert {file.name for file in source.files} == set(files)
    fetched = fetch(source)
    assert fetched.path == folder
    assert {file.name: file.sha256 for file in fetched.files} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config.json": None}, "has no config.json"),
        ({"config.json": b"[]"}, "is no configuration of a model"),
        ({"config.json": b"{"}, "is no JSON"),
        ({"config.json": b"[" * 100_000}, "is no JSON"),
        ({"config.json": b'{"quantization_config": {"quant_method": "gptq"}}'}, r"quantized already \(gptq\)"),
        ({"model-00002-of-00002.safetensors": None}, "lacks 1 of 2 weight files"),
        ({"model-00002-of-00002.safetensors": tiny_safetensors()[:-7]}, "cut off"),
        ({"model-00002-of-00002.safetensors": b"version https://git-lfs.github.com/spec/v1\n"}, "Git LFS pointer"),
        ({"model-00002-of-00002.safetensors": b""}, "is no safetensors file"),
        ({"model-00002-of-00002.safetensors": b"\xff" * 100}, "is no safetensors file"),
        ({"model-00002-of-00002.safetensors": (2).to_bytes(8, "little") + b"[]"}, "header is not valid"),
        ({"model.safetensors.index.json": b"{}"}, "is no index"),
        ({"model.safetensors.index.json": b'{"weight_map": {}}'}, "names no files"),
        ({"model.safetensors.index.json": b'{"weight_map": {"a": "../../etc/x.safetensors"}}'}, "names '../../etc"),
        ({"model.safetensors.index.json": b'{"weight_map": {"a": "/etc/passwd"}}'}, "no safetensors file beside it"),
        ({"model.safetensors.index.json": b'{"weight_map": {"a": NaN}}'}, "is no index"),
        ({"model.safetensors.index.json": None}, "which belong together"),
    ],
)  # fmt: skip
def test_a_folder_with_something_wrong_is_refused_with_the_reason(
    tmp_path: Path, change: dict[str, bytes | None], message: str
) -> None:
    files = {**tiny_model(shards=2), **change}
    write_model(tmp_path, {name: content for name, content in files.items() if content is not None})
    with pytest.raises(SourceError, match=message):
        source_at(tmp_path)


def test_pickled_weights_are_refused_since_they_can_run_code(tmp_path: Path) -> None:
    write_model(tmp_path, {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(SourceError, match="can run code"):
        source_at(tmp_path)


@pytest.mark.parametrize("kind", ["F8_E4M3", "I32", "U8"])
def test_safetensors_of_few_bits_are_refused(tmp_path: Path, kind: str) -> None:
    """FP8, GPTQ's packed integers, bitsandbytes' bytes."""
    write_model(tmp_path, tiny_model(kind=kind))
    with pytest.raises(SourceError, match=rf"quantized already \({kind}\)"):
        source_at(tmp_path)


def header(tensors: dict[str, object], data: int) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F16", "shape": [4], "data_offsets": [0, 4]},
        {"dtype": "F16", "shape": [4], "data_offsets": [8, 0]},
        {"dtype": "F16", "shape": [-4], "data_offsets": [0, 8]},
        {"dtype": "F16", "shape": [1 << 60], "data_offsets": [0, 8]},
        {"dtype": "F16", "shape": [4], "data_offsets": [0, 1 << 60]},
        {"dtype": "F16", "shape": "4", "data_offsets": [0, 8]},
        {"dtype": 1, "shape": [4], "data_offsets": [0, 8]},
        {"shape": [4], "data_offsets": [0, 8]},
        7,
    ],
)
def test_a_lying_header_is_refused(tmp_path: Path, entry: object) -> None:
    write_model(tmp_path, {**tiny_model(), "model.safetensors": header({"x": entry}, 8)})
    with pytest.raises(SourceError):
        source_at(tmp_path)


@given(content=st.binary(max_size=300), declared=st.integers(0, 400))
def test_any_bytes_as_safetensors_are_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, declared: int
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    data = declared.to_bytes(8, "little") + content
    write_model(folder, {"config.json": b"{}", "model.safetensors": data})
    with pytest.raises(QuantizeError):
        precision_of(folder, ("model.safetensors",))


# --- names


@given(st.text(max_size=60))
@example("BF16/model.gguf")
@example("a/../b")
def test_a_safe_name_stays_in_its_folder(name: str) -> None:
    if is_safe(name):
        folder = Path("/a/folder")
        assert (folder / name).resolve().is_relative_to(folder)
        assert str(folder / name) == f"/a/folder/{name}"


@given(st.text(max_size=60))
@example("Qwen/Qwen3-0.6B")
@example("a/..")
@example("a/./b")
def test_a_repository_or_revision_is_safe_as_a_path(text: str) -> None:
    if is_repository(text):
        assert text.count("/") == 1
        assert is_safe(text)
    if is_revision(text):
        assert is_safe(text)


@pytest.mark.parametrize(
    "name", ["google/gemma-3-270m-it", "01-ai/Yi-1.5-6B-Chat", "Qwen/Qwen2.5-0.5B", "a/b_c"]
)
def test_names_of_real_repositories_are_repositories(name: str) -> None:
    assert is_repository(name)


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/4", "a" * 40])
def test_branches_tags_and_commits_are_revisions(revision: str) -> None:
    assert is_revision(revision)


# --- the environment


@pytest.mark.parametrize(
    ("environment", "cache"),
    [
        ({"HF_HOME": "/data/hf"}, "/data/hf/hub"),
        ({"HF_HUB_CACHE": "/data/cache", "HF_HOME": "/data/hf"}, "/data/cache"),
        ({"HUGGINGFACE_HUB_CACHE": "/data/old"}, "/data/old"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/huggingface/hub"),
        ({}, str(Path("~/.cache/huggingface/hub").expanduser())),
    ],
)
def test_the_cache_is_where_huggingface_hub_has_it(environment: dict[str, str], cache: str) -> None:
    assert hub_settings(environment).cache == Path(cache)


def test_the_endpoint_is_checked_and_shown_without_credentials() -> None:
    settings = hub_settings({"HF_ENDPOINT": "https://me:word@mirror.example:8443/hf/"})
    assert settings.endpoint == "https://me:word@mirror.example:8443/hf"
    assert settings.shown_endpoint == "https://mirror.example:8443/hf"
    for wrong in ("mirror.example", "ftp://mirror", "http://", "http://x:port"):
        with pytest.raises(SourceError, match="HF_ENDPOINT is no web address"):
            hub_settings({"HF_ENDPOINT": wrong})


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_offline_is_said_as_huggingface_hub_understands_it(value: str, offline: bool) -> None:
    assert hub_settings({"HF_HUB_OFFLINE": value}).offline is offline
    assert hub_settings({"TRANSFORMERS_OFFLINE": value}).offline is offline
