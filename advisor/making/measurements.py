"""Published speeds as rows that a fit can use: which chip, which processor, which load, how fast.

`data/measurements.csv` names devices and models as their sources do. Names resolve as a user's would, through the
device library and the catalog; what they cannot resolve is in `data/measured-names.csv`, with the reason. Rows that
are not a plain run of llama.cpp with known settings are left out by the rules of `EXCLUSIONS`, nothing else is.
"""

from __future__ import annotations

import csv
import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from advisor.catalog import load_catalog
from advisor.errors import UnknownModelError
from advisor.processors import Processor, processors, with_backend
from advisor.speed import Load, load_of
from profiles.device import Device
from profiles.errors import UnknownDeviceError
from profiles.library import find

DATA = Path(__file__).with_name("data")
MEASUREMENTS = DATA / "measurements.csv"
NAMES = DATA / "measured-names.csv"

Row = dict[str, str]

_BACKENDS = (  # how sources write a backend
    ("hexagon", "hexagon"), ("opencl", "opencl"), ("cuda/rocm/metal", None), ("vulkan or rocm", None),
    ("cpu/metal", None), ("cuda", "cuda"), ("rocm", "rocm"), ("vulkan", "vulkan"), ("metal", "metal"), ("sycl", "sycl"),
    ("cpu", "cpu"),
)  # fmt: skip
_CLASS_BACKEND = {"nvidia": "cuda", "amd": "rocm", "apple": "metal", "sbc": "cpu"}
_CHAT_LENGTHS = (30, 300)  # prompt and answer where a source gives a rate of a chat and no lengths
_QUANTS_IN_NAMES = re.compile(r"(Q\d_K_XL|Q\d_K_M|IQ4_NL|Q4_0)$", re.IGNORECASE)

EXCLUSIONS: tuple[tuple[str, Callable[[Row], bool]], ...] = (
    ("another engine (ik_llama.cpp)", lambda row: row["engine"].startswith("ik_llama")),
    ("another engine (ipex-llm)", lambda row: "ipex" in row["engine"] or "ipex" in row["backend"]),
    ("Vulkan on Apple, through a translation layer", lambda row: "MoltenVK" in row["note"]),
    ("prompt through a PCIe x1 link", lambda row: row["test"].startswith("pp") and "PCIe x1" in row["note"]),
    (
        "a series over depths that the source does not give",
        lambda row: "9800X3D" in row["cpu_or_gpu_name"] and row["flash_attn"] != "1",
    ),
    (
        "quantization not named",
        lambda row: row["quant"] in ("4-bit (unspecified)", "APEX-MTP-I-Mini", "Q6_0"),
    ),
    (
        "prefill on the M5's neural accelerators",
        lambda row: "Neural Accelerators" in row["backend"] and row["test"].startswith("pp"),
    ),
)


@dataclass(frozen=True)
class Measurement:
    """One row that is understood. `chip` is what leave-one-chip-out leaves out."""

    chip: str
    class_: str
    processor: Processor
    load: Load
    test: Literal["tg", "pp"]
    n_prompt: int
    n_gen: int
    depth: int
    threads: int | None
    flash_attention: bool | None
    rate: float  # tokens per second
    weight: float
    source: str
    model: str
    quant: str


def read_measurements() -> tuple[list[Measurement], Counter[str]]:
    """The rows that can be used, and how many were left out by reason."""
    left_out: Counter[str] = Counter()
    used: list[Measurement] = []
    for row in _rows():
        reason = next((text for text, applies in EXCLUSIONS if applies(row)), None)
        made: Measurement | str = reason or _measurement(row)
        if isinstance(made, str):
            left_out[made] += 1
        else:
            used.append(made)
    return used, left_out


def _rows() -> Iterator[Row]:
    with MEASUREMENTS.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


@functools.cache
def _names() -> dict[tuple[str, str], str]:
    with NAMES.open(encoding="utf-8", newline="") as file:
        return {(row["kind"], row["measured"]): row["means"] for row in csv.DictReader(file)}


def _measurement(row: Row) -> Measurement | str:
    backend = _backend(row)
    device = _device(row["device"])
    if device is None:
        return "device not identified"
    processor = _processor(device, backend)
    if processor is None or processor.bandwidth_bytes_per_s is None:
        return "bandwidth not known"
    load = _load(row["model"], row["quant"])
    if load is None:
        return "model or quantization not in the catalog"
    test: Literal["tg", "pp"] = (
        "pp" if row["test"].startswith("pp") and "gen phase" not in row["test"] else "tg"
    )
    n_prompt, n_gen = _lengths(row)
    return Measurement(
        chip=chip_key(device, processor),
        class_=row["device_class"],
        processor=processor,
        load=load,
        test=test,
        n_prompt=n_prompt,
        n_gen=n_gen,
        depth=0,
        threads=int(row["threads"]) if row["threads"] else None,
        flash_attention={"1": True, "0": False}.get(row["flash_attn"]),
        rate=float(row["tok_s"]),
        weight=_weight(row),
        source=row["source"],
        model=row["model"],
        quant=row["quant"],
    )


def _backend(row: Row) -> str:
    backend = next(found for text, found in _BACKENDS if text in row["backend"])
    return backend or _CLASS_BACKEND[row["device_class"]]


def _device(name: str) -> Device | None:
    try:
        return find(_names().get(("device", name), name))
    except UnknownDeviceError:
        return None


def _processor(device: Device, backend: str) -> Processor | None:
    ways = processors(device)
    if backend == "cpu":
        return ways[-1]
    own = [way for way in ways if way.backend == backend]
    gpus = [way for way in ways if way.accelerator is not None and way.backend != "hexagon"]
    if own:
        return own[0]
    return with_backend(gpus[0], backend) if gpus and backend != "hexagon" else None  # type: ignore[arg-type]


def chip_key(device: Device, processor: Processor) -> str:
    """One name for all variants of a chip: memory sizes, numbers of GPU cores and packages do not make another."""
    name = processor.name if processor.backend == "cpu" else (processor.name or device.name)
    if processor.generation in ("adreno", "hexagon", "apple-phone", "mali") or device.class_ == "phone":
        name = device.cpu.name
    name = re.sub(
        r"\(.*?\)|\d+-core( GPU)?|\b\d+ GB\b|\b(PCIe|SXM\d?|NVL|NVIDIA|AMD|GeForce|Apple|Intel)\b",
        "",
        name or device.name or "",
    )
    return " ".join(name.split())


def _load(model: str, quant: str) -> Load | None:
    if quant == "not stated":
        found = _QUANTS_IN_NAMES.search(model)
        if found is None:
            return None
        quant = found[1].upper()
    if quant.upper().endswith("Q4_K_XL"):
        quant = "Q4_K_M"  # the same mixture but for a few tensors of higher precision
    try:
        entry = load_catalog().find(_names().get(("model", model), model))
    except UnknownModelError:
        return None
    if quant == "MXFP4" or ("gpt-oss" in model and quant == "Q8_0"):
        quant = "MXFP4"  # how the model was released; its Q8_0 files keep the experts so
    variant = next((variant for variant in entry.variants if variant.quant == quant), None)
    return None if variant is None or entry.architecture is None else load_of(entry, variant)


def _lengths(row: Row) -> tuple[int, int]:
    if not row["n_prompt"] and not row["n_gen"]:
        return _CHAT_LENGTHS
    if row["n_prompt"] == "short":
        return _CHAT_LENGTHS[0], int(row["n_gen"] or _CHAT_LENGTHS[1])
    return int(row["n_prompt"] or 0), int(row["n_gen"] or 0)


def _weight(row: Row) -> float:
    """Less for rates of a chat than of llama-bench, and for engines that wrap or fork llama.cpp."""
    weight = 1.0 if row["trust"].startswith("A") else 0.7
    if "llamafile" in row["engine"]:
        return weight * 0.5
    return weight * 0.6 if "ollama" in row["engine"] else weight
