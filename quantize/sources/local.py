"""Weights on this disk: a GGUF, whole or split, or a folder with config.json and safetensors."""

from __future__ import annotations

from pathlib import Path

from quantize.errors import InvalidModelError, SourceError, SourceNotFoundError
from quantize.gguf_header import Header, read_header
from quantize.sources.choose import COMPANIONS
from quantize.sources.names import part_of
from quantize.sources.safetensors import precision_of, weight_files
from quantize.sources.source import PRECISIONS, Precision, Source, SourceFile


def local_source(path: Path) -> Source:
    """The source at `path`. Raises SourceError, with what would do instead, or InvalidModelError for a damaged GGUF.

    One part of a split GGUF stands for all of them.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise SourceNotFoundError(f"{path} does not exist: give a GGUF file or a folder with safetensors")
    if path.suffix == ".safetensors":
        raise SourceError(f"{path} is one file of a model: give its folder, which has config.json too")
    parts = gguf_parts(path)
    headers = part_headers(parts)
    kind = headers[0].metadata.get("general.type", "model")
    if kind != "model" or headers[0].architecture == "clip":
        raise SourceError(
            f"{path} is no language model but {'an image encoder' if kind == 'model' else kind}"
        )
    name = headers[0].metadata.get("general.license")
    return Source(
        kind="gguf",
        origin="local",
        path=parts[0],
        files=tuple(SourceFile(name=part.name, bytes=part.stat().st_size) for part in parts),
        precision=full_precision(parts[0], headers),
        license=name if isinstance(name, str) else None,
    )


def _folder(path: Path) -> Source:
    ggufs = sorted(path.glob("*.gguf"))
    if ggufs and not (path / "config.json").is_file():
        raise SourceError(f"{path} is a folder with GGUF files: give one of them ({ggufs[0].name})")
    weights = weight_files(path)
    precision = precision_of(path, weights)
    companions = [
        file.name for file in sorted(path.iterdir()) if file.is_file() and COMPANIONS.fullmatch(file.name)
    ]
    return Source(
        kind="safetensors",
        origin="local",
        path=path,
        files=tuple(
            SourceFile(name=name, bytes=(path / name).stat().st_size) for name in (*companions, *weights)
        ),
        precision=precision,
    )


def gguf_parts(path: Path) -> tuple[Path, ...]:
    """All parts of the GGUF that `path` is, or is one of. Raises SourceError where one is missing."""
    stem, _, count = part_of(path.name.removesuffix(".gguf"))
    if count == 1:
        return (path,)
    parts = tuple(path.with_name(f"{stem}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1))
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise SourceError(f"{path} is one of {count} parts, of which {missing[0]} is missing beside it")
    return parts


def part_headers(parts: tuple[Path, ...]) -> tuple[Header, ...]:
    """The headers of all parts: only the first says what model it is. Raises InvalidModelError."""
    headers = tuple(read_header(part, model=part == parts[0]) for part in parts)
    claimed = headers[0].metadata.get("split.tensors.count")
    there = sum(len(header.tensors) for header in headers)
    if len(parts) > 1 and isinstance(claimed, int) and claimed != there:
        raise InvalidModelError(f"{parts[0]} has {there} tensors in its parts and should have {claimed}")
    return headers


def full_precision(path: Path, headers: tuple[Header, ...]) -> Precision:
    """The type of most weights of a GGUF at `path`. Raises SourceError unless every matrix is F32, F16 or BF16."""
    by_type: dict[str, int] = {}
    for header in headers:
        for tensor in header.tensors:
            if len(tensor.shape) > 1:
                by_type[tensor.type] = by_type.get(tensor.type, 0) + tensor.bytes
    if not by_type:
        raise SourceError(f"{path} has no weight matrices: it is no model to quantize")
    lossy = {kind: size for kind, size in by_type.items() if kind not in PRECISIONS}
    if lossy:
        most = max(lossy, key=lambda kind: lossy[kind])
        raise SourceError(
            f"{path} is quantized already (mostly {most}): quantizing it again loses quality a second time, and "
            "nothing measured with it would be true of the model; use an F32, F16 or BF16 GGUF, or safetensors"
        )
    return PRECISIONS[max(by_type, key=lambda kind: by_type[kind])]
