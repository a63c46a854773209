"""What a model file is: the catalog's model where it is one, and a file of its own where it is not."""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec
import pytest

from advisor.catalog import Catalog
from advisor.identify import identify
from advisor.load import load_digest
from quantize.errors import InvalidModelError, UnknownArchitectureError
from quantize.skeleton import write_skeleton


def test_a_real_file_is_the_catalogs_model_at_its_preset(smollm2: Path, catalog: Catalog) -> None:
    """Model, preset and sizes equal the catalog's, and so does what its speed is kept under."""
    found = identify(smollm2, catalog)
    assert found.label == "SmolLM2-135M-Instruct:Q4_1"
    assert found.model is not None
    assert found.model.architecture is not None
    known = found.model.variant("Q4_1")
    assert found.variant.bytes_by_type == known.bytes_by_type
    assert found.variant.read_bytes_by_type == known.read_bytes_by_type
    assert found.load_digest == load_digest(found.model.architecture, known.bytes_by_type)
    assert found.variant.file_bytes == smollm2.stat().st_size


def test_models_of_equal_dimensions_are_told_apart_by_their_names(catalog: Catalog, tmp_path: Path) -> None:
    """The file's name decides between Qwen2.5-1.5B-Instruct and its coder; without a hint it is neither."""
    arch = catalog.find("Qwen2.5-1.5B-Instruct").architecture
    assert arch is not None
    names = {}
    for stem in ("Qwen2.5-1.5B-Instruct-F16", "qwen2.5-coder-1.5b-instruct.f16", "my-own"):
        path = tmp_path / f"{stem}.gguf"
        write_skeleton(arch, path)
        found = identify(path, catalog)
        names[stem] = found.model.name if found.model else found.label
    assert list(names.values()) == ["Qwen2.5-1.5B-Instruct", "Qwen2.5-Coder-1.5B-Instruct", "my-own.gguf"]


def test_a_model_nobody_knows_still_has_its_sizes_and_a_digest(catalog: Catalog, tmp_path: Path) -> None:
    """It can be estimated and its measurements kept, under its file's name."""
    known = catalog.find("Qwen2.5-0.5B-Instruct").architecture
    assert known is not None
    arch = msgspec.structs.replace(known, n_layer=5)
    write_skeleton(arch, tmp_path / "strange.gguf")
    found = identify(tmp_path / "strange.gguf", catalog)
    assert (found.model, found.preset, found.label) == (None, None, "strange.gguf")
    assert found.architecture.n_layer == 5
    assert found.variant.tensor_bytes > 0
    assert found.load_digest != load_digest(known, found.variant.bytes_by_type)


def test_what_is_no_model_is_refused(tmp_path: Path, catalog: Catalog) -> None:
    """With the file's name, before anything is hashed or run."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    with pytest.raises((InvalidModelError, UnknownArchitectureError), match=r"model\.gguf"):
        identify(path, catalog)
    with pytest.raises(InvalidModelError, match="no-such"):
        identify(tmp_path / "no-such.gguf", catalog)


def test_a_digest_does_not_depend_on_how_its_architecture_came_about(catalog: Catalog) -> None:
    """One run reads it from a file, the next from the catalog: what the first kept, the second must find."""
    from advisor.load import _shape

    known = catalog.find("SmolLM2-135M-Instruct").architecture
    assert known is not None
    spelt_out = msgspec.structs.asdict(known)
    again = msgspec.convert(spelt_out, type(known))
    read = msgspec.json.decode(msgspec.json.encode(spelt_out), type=type(known))
    digests = set()
    for arch in (known, again, read):
        _shape.cache_clear()
        digests.add(load_digest(arch, {"Q8_0": 1000}))
    assert len(digests) == 1
