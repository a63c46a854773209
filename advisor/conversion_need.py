"""What converting safetensors to GGUF will need, by the plans of the converter, before anything is downloaded."""

from __future__ import annotations

from pathlib import Path

import msgspec

from quantize.architecture import Architecture
from quantize.build import Order
from quantize.convert import (
    Precision,
    converted_bytes,
    converter_plan,
    converting_bytes,
    expected_bytes,
    find_converter,
    memory_bytes,
    read_folder,
)
from quantize.room import room

_PRECISIONS: dict[str, Precision] = {"F32": "f32", "F16": "f16", "BF16": "bf16"}


class ConverterNeed(msgspec.Struct, frozen=True, kw_only=True):
    """The converter, which is not installed yet: what it fetches, once, and what stays in `folder`."""

    folder: str
    download_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    memory_bytes: int


class ConversionNeed(msgspec.Struct, frozen=True, kw_only=True):
    """`result_bytes` of the GGUF in full precision, `memory_bytes` at the peak; `converter` None: it is installed."""

    result_bytes: int
    memory_bytes: int
    converter: ConverterNeed | None


def conversion_need(order: Order, arch: Architecture) -> ConversionNeed:
    """What the source of `order`, which has safetensors, takes: from its headers if it is here, else from the catalog.

    Raises ConversionError and InvalidModelError for a folder that cannot be converted, ConverterInstallError where
    there is no place for the converter.
    """
    if order.source.path is not None:
        folder = read_folder(order.source.path)
        size, memory = expected_bytes(folder), memory_bytes(folder)
    else:
        precision = _PRECISIONS[order.source.precision or "BF16"]
        sizes = [tensor.elements for tensor in order.expected.values()]
        size = converted_bytes(sum(sizes), arch.n_vocab, precision)
        memory = converting_bytes(max(sizes), precision)
    return ConversionNeed(result_bytes=size, memory_bytes=memory, converter=_converter())


def _converter() -> ConverterNeed | None:
    if find_converter() is not None:
        return None
    plan = converter_plan()
    return ConverterNeed(
        folder=plan.folder,
        download_bytes=plan.download_bytes,
        disk_bytes=plan.disk_bytes,
        disk_free_bytes=room(Path(plan.folder)),
        memory_bytes=plan.memory_bytes,
    )
