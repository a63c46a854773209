"""Which safetensors make up a model, and whether they are what a build can start from.

The index of a split model maps each tensor to its file; what a file says of its tensors is read by
`quantize.safetensors_header`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from quantize.errors import InvalidModelError, SourceError
from quantize.safetensors_header import INDEX, read_tensors
from quantize.sources.names import is_safe
from quantize.sources.source import PRECISIONS, Precision

_MAX_JSON_BYTES = 64_000_000
_ENDINGS_OF_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def weight_files(folder: Path) -> tuple[str, ...]:
    """The safetensors in `folder` that make up the model, by its index where it has one.

    Raises SourceError where files are missing, or there are none but pickled ones.
    """
    index = folder / INDEX
    if index.is_file():
        names = indexed_files(index)
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise SourceError(
                f"{folder} lacks {len(missing)} of {len(names)} weight files ({missing[0]}): download it again"
            )
        return names
    single = folder / "model.safetensors"
    if single.is_file():
        return (single.name,)
    present = sorted(path.name for path in folder.glob("*.safetensors") if path.is_file())
    if len(present) == 1:
        return tuple(present)
    if present:
        raise SourceError(
            f"{folder} has {len(present)} safetensors and no {INDEX} that says which belong together"
        )
    if any(path.suffix in _ENDINGS_OF_PICKLES for path in folder.iterdir()):
        raise SourceError(
            f"{folder} has its weights only in pickled files (*.bin), which can run code when they are opened: "
            "use safetensors"
        )
    raise SourceError(f"{folder} has no safetensors")


def indexed_files(index: Path) -> tuple[str, ...]:
    """The files that the index of a split model names. Raises SourceError for what is no such index."""
    try:
        if index.stat().st_size > _MAX_JSON_BYTES:
            raise SourceError(f"{index} is too large for an index")
        names = sorted(set(msgspec.json.decode(index.read_bytes(), type=_Index).weight_map.values()))
    except OSError as error:
        raise SourceError(f"{index} cannot be read: {error.strerror or error}") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise SourceError(f"{index} is no index of safetensors: {error}") from error
    if not names:
        raise SourceError(f"{index} names no files")
    for name in names:
        if not is_safe(name) or "/" in name or not name.endswith(".safetensors"):
            raise SourceError(f"{index} names {name[:80]!r}, which is no safetensors file beside it")
    return tuple(names)


def precision_of(folder: Path, names: tuple[str, ...]) -> Precision:
    """The type of most weights. Raises SourceError for damaged files and for weights that are quantized already."""
    method = _quantization(folder / "config.json")
    if method:
        raise SourceError(_already(folder, method))
    by_type: dict[str, int] = {}
    for name in names:
        for kind, size in _bytes_by_type(folder / name).items():
            by_type[kind] = by_type.get(kind, 0) + size
    full = {kind: size for kind, size in by_type.items() if kind in PRECISIONS}
    if not full or 2 * sum(full.values()) < sum(by_type.values()):
        raise SourceError(_already(folder, max(by_type, key=lambda kind: by_type[kind], default="nothing")))
    return PRECISIONS[max(full, key=lambda kind: full[kind])]


def _already(folder: Path, what: str) -> str:
    return (
        f"the weights in {folder} are quantized already ({what[:40]}): "
        "quantizing them again loses quality; use the full-precision model"
    )


def _quantization(config: Path) -> str | None:
    """How config.json says the weights are quantized, or None. Raises SourceError where it is no configuration."""
    try:
        if config.stat().st_size > _MAX_JSON_BYTES:
            raise SourceError(f"{config} is too large for a configuration")
        values: Any = msgspec.json.decode(config.read_bytes())
    except FileNotFoundError:
        raise SourceError(
            f"{config.parent} has no config.json: it is no folder of a Hugging Face model"
        ) from None
    except OSError as error:
        raise SourceError(f"{config} cannot be read: {error.strerror or error}") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise SourceError(f"{config} is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise SourceError(f"{config} is no configuration of a model")
    stated = values.get("quantization_config")
    if isinstance(stated, dict) and stated:
        return str(stated.get("quant_method", "quantization_config"))
    return None


def _bytes_by_type(path: Path) -> dict[str, int]:
    """Bytes of the data by type. Raises SourceError where the file is no safetensors, or not all of it."""
    by_type: dict[str, int] = {}
    try:
        for tensor in read_tensors(path):
            by_type[tensor.dtype] = by_type.get(tensor.dtype, 0) + tensor.bytes
    except InvalidModelError as error:
        raise SourceError(str(error)) from error
    return by_type
