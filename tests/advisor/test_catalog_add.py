"""Adding one's own models: GGUF files, folders with a config.json, and what is refused."""

from __future__ import annotations

import json
import struct
import tomllib
from pathlib import Path
from typing import Any

import pytest

from advisor import catalog_add
from advisor.borrowed_sizes import borrowed_variants
from advisor.catalog import CATALOG_FOLDER, Catalog, load_catalog, read_index
from advisor.cli.main import run
from advisor.user_catalog import user_files, user_folder
from quantize.skeleton import write_skeleton

Output = pytest.CaptureFixture[str]

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": True,
}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user's data folder, empty."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    load_catalog.cache_clear()
    return tmp_path / "data"


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_add, "engine_is_installed", lambda: False)


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    return Catalog(read_index().complete_models())


@pytest.fixture
def gguf(tmp_path: Path, shipped: Catalog) -> Path:
    """A GGUF of SmolLM2-135M at F16: its true header, its weights a hole."""
    arch = shipped.find("SmolLM2-135M").architecture
    assert arch is not None
    path = tmp_path / "my smol.gguf"
    write_skeleton(arch, path)
    return path


def folder(tmp_path: Path, config: object, name: str = "my-tune") -> Path:
    path = tmp_path / name
    path.mkdir()
    (path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def added(capsys: Output, *arguments: str) -> dict[str, Any]:
    assert run(["catalog", "add", *arguments, "--json"]) == 0, capsys.readouterr()
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def refused(capsys: Output, *arguments: str) -> str:
    assert run(["catalog", "add", *arguments]) == 2
    assert user_files() == []
    return capsys.readouterr().err


@pytest.mark.usefixtures("no_engine")
def test_a_gguf_is_added_with_its_own_exact_sizes(capsys: Output, gguf: Path, shipped: Catalog) -> None:
    model = added(capsys, str(gguf))["model"]
    f16 = next(variant for variant in model["variants"] if variant["quant"] == "F16")
    assert model["name"] == "my-smol"
    assert model["verified"]
    assert f16["exact"]
    assert f16["file_bytes"] == gguf.stat().st_size
    assert f16["tensor_bytes"] == shipped.find("SmolLM2-135M").variant("F16").tensor_bytes


@pytest.mark.usefixtures("no_engine")
def test_a_model_that_was_added_is_found_shown_and_sound(capsys: Output, gguf: Path) -> None:
    added(capsys, str(gguf), "--name", "our-model")
    load_catalog.cache_clear()
    assert load_catalog().find("our model").weights == str(gguf)
    assert run(["catalog", "show", "our-model"]) == 0
    assert run(["catalog", "check"]) == 0


@pytest.mark.usefixtures("no_engine")
def test_a_folder_is_added_from_its_config_with_sizes_marked_as_borrowed(
    capsys: Output, tmp_path: Path, shipped: Catalog
) -> None:
    model = added(capsys, str(folder(tmp_path, CONFIG)))["model"]
    assert model["parameters"] == shipped.find("Llama-3.2-1B").parameters
    assert not model["verified"]
    assert not any(variant["exact"] for variant in model["variants"])


@pytest.mark.engine
def test_with_the_engine_the_sizes_of_a_folder_are_exact(
    capsys: Output, tmp_path: Path, shipped: Catalog
) -> None:
    pytest.importorskip("llama_cpp")
    model = added(capsys, str(folder(tmp_path, CONFIG)))["model"]
    theirs = {variant.quant: variant.tensor_bytes for variant in shipped.find("Llama-3.2-1B").variants}
    ours = {variant["quant"]: variant["tensor_bytes"] for variant in model["variants"] if variant["exact"]}
    assert ours.keys() == theirs.keys()
    # Llama 3.2 has one tensor more, of 32 rotary factors.
    assert all(theirs[quant] - ours[quant] == 128 for quant in theirs)


@pytest.mark.parametrize("quant", ["Q8_0", "Q4_K_M", "IQ2_XS"])
def test_borrowed_sizes_are_close_to_the_engines(shipped: Catalog, quant: str) -> None:
    models = [model for model in shipped.models if model.runnable]
    misses = []
    for model in models:
        arch = model.architecture
        assert arch is not None
        others = [other for other in models if other.architecture != arch]
        borrowed = {variant.quant: variant for variant in borrowed_variants(arch, others)}
        misses.append(abs(borrowed[quant].file_bytes / model.variant(quant).file_bytes - 1))
    misses.sort()
    assert misses[len(misses) // 2] < 0.003
    assert misses[len(misses) * 9 // 10] < 0.02


@pytest.mark.usefixtures("no_engine")
def test_adding_again_replaces_ones_own_entry(capsys: Output, gguf: Path) -> None:
    added(capsys, str(gguf))
    load_catalog.cache_clear()
    added(capsys, str(gguf))
    assert [path.name for path in user_files()] == ["my-smol.toml"]


def test_a_name_of_the_catalog_is_not_taken(capsys: Output, gguf: Path) -> None:
    error = refused(capsys, str(gguf), "--name", "qwen3 4b")
    assert "Qwen3-4B" in error
    assert "--name" in error


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("name", ["../../evil", "a/b", "a:b", 'quote"\n[x]', "名前 model"])
def test_a_name_cannot_leave_the_folder_or_break_the_file(
    capsys: Output, gguf: Path, home: Path, name: str
) -> None:
    written = Path(added(capsys, str(gguf), "--name", name)["file"])
    assert written.parent == home / "slm-advisor" / "catalog"
    assert ":" not in tomllib.loads(written.read_text())["model"][0]["name"]


def test_a_name_of_nothing_is_refused(capsys: Output, gguf: Path) -> None:
    assert "no name" in refused(capsys, str(gguf), "--name", "///")


def test_an_unknown_architecture_is_refused_with_its_name(capsys: Output, tmp_path: Path) -> None:
    assert "warp_drive" in refused(capsys, str(folder(tmp_path, {**CONFIG, "model_type": "warp_drive"})))


def test_a_config_that_lacks_a_dimension_is_refused_naming_it(capsys: Output, tmp_path: Path) -> None:
    config = {key: value for key, value in CONFIG.items() if key != "num_hidden_layers"}
    assert "num_hidden_layers" in refused(capsys, str(folder(tmp_path, config)))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", "not JSON"),
        ("[1, 2]", "no object"),
        ("[" * 100_000, "not JSON"),
        ('{"model_type": "llama", "hidden_size": "wide"}', "hidden_size"),
        (json.dumps({**CONFIG, "num_hidden_layers": 10**12}), "num_hidden_layers"),
        (json.dumps({**CONFIG, "vocab_size": [1]}), "vocab_size"),
        (json.dumps({**CONFIG, "num_key_value_heads": 7}), "num_key_value_heads 7 does not divide"),
        (json.dumps({**CONFIG, "head_dim": None, "hidden_size": 1000001}), "no multiple of"),
        (" " * (catalog_add.MAX_CONFIG_BYTES + 1), "larger than"),
    ],
)
def test_a_broken_config_is_a_clear_error(capsys: Output, tmp_path: Path, config: str, says: str) -> None:
    error = refused(capsys, str(folder(tmp_path, config)))
    assert "internal error" not in error
    assert says in error


def test_a_folder_without_a_config_names_the_gguf_files_in_it(capsys: Output, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "one.gguf").touch()
    assert "one.gguf" in refused(capsys, str(tmp_path / "models"))


def test_a_device_is_not_read(capsys: Output) -> None:
    assert "neither a file nor a folder" in refused(capsys, "/dev/zero")
    assert run(["catalog", "check", "/dev/zero"]) == 2
    assert "larger than" in capsys.readouterr().out


def test_a_missing_file_is_said_to_be_missing(capsys: Output, tmp_path: Path) -> None:
    assert "No such file" in refused(capsys, str(tmp_path / "nothing.gguf"))


def header(n_tensors: int, n_keys: int, rest: bytes = b"") -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", 3, n_tensors, n_keys) + rest


def key(name: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind) + value


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"<!DOCTYPE html>",
        header(2**63, 1),
        header(1, 2**63),
        header(0, 1, key("general.architecture", 8, struct.pack("<Q", 2**60))),
        header(0, 1, key("tokens", 9, struct.pack("<IQ", 8, 2**62))),
        header(0, 1, key("general.architecture", 8, struct.pack("<Q", 4) + b"warp")),
    ],
    ids=["empty", "cut", "web page", "tensors", "keys", "long string", "long array", "unknown architecture"],
)
def test_a_hostile_header_is_a_clear_error(capsys: Output, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(content)
    error = refused(capsys, str(path))
    assert "internal error" not in error
    assert "warp" in error or "hostile.gguf" in error


def test_a_file_that_is_cut_off_is_refused(capsys: Output, gguf: Path) -> None:
    with gguf.open("r+b") as file:
        file.truncate(gguf.stat().st_size // 2)
    assert "cut off" in refused(capsys, str(gguf))


def test_a_folder_that_cannot_be_written_is_named(capsys: Output, gguf: Path, home: Path) -> None:
    home.write_text("a file where the folder should be")
    error = refused(capsys, str(gguf))
    assert str(home) in error
    assert "internal error" not in error


def test_an_entry_written_by_hand_gets_borrowed_sizes(home: Path, shipped: Catalog) -> None:
    text = (CATALOG_FOLDER / "smollm2.toml").read_text()
    mine = home / "slm-advisor" / "catalog" / "mine.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text(
        text.replace("HuggingFaceTB/SmolLM2", "me/Mine").replace('name = "SmolLM2', 'name = "Mine')
    )
    catalog = load_catalog()
    found = catalog.find("Mine-1.7B-Instruct")
    assert found.runnable
    assert not any(variant.exact for variant in found.variants)
    theirs = shipped.find("SmolLM2-1.7B").variant("Q4_K_M").file_bytes
    assert found.variant("Q4_K_M").file_bytes == pytest.approx(theirs, rel=0.01)
    assert len(catalog.models) == len(shipped.models) + 3


def test_a_broken_file_of_ones_own_is_left_out_and_named_with_its_line(capsys: Output, home: Path) -> None:
    """The rest of the catalog goes on working; `catalog check` is where it fails."""
    (home / "slm-advisor" / "catalog").mkdir(parents=True)
    (home / "slm-advisor" / "catalog" / "mine.toml").write_text('family = "mine"\nfamly = 1\n')
    assert run(["catalog", "list", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["count"] > 200
    assert "mine.toml:2: famly" in captured.err
    assert run(["catalog", "check"]) == 2


def test_the_folder_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in ("", "relative/path"):
        monkeypatch.setenv("XDG_DATA_HOME", unset)
        assert user_folder() == tmp_path / ".local" / "share" / "slm-advisor" / "catalog"
