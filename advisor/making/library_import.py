"""The one-time import of the collected tables into `profiles/library/*.toml`.

devices.csv   295 collected devices, each with its source; the source column is kept.
chips.csv     processors and systems-on-chip that people's machines have, general knowledge.
cards.csv     cards and integrated GPUs that the collection lacks, general knowledge.

What is corrected on the way, and why, stands in the tables below.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import msgspec
import tomlkit

from advisor.making.library import Row
from advisor.making.library_tables import (
    ALIASES,
    APPLE_VARIANTS,
    BOOST_GHZ,
    COMPUTE_CAPABILITY,
    FP16_TFLOPS,
    FP32_TFLOPS_BEFORE_TENSOR_CORES,
    GAPS,
    GENERAL,
    ISA_GROUPS,
    ISA_IMPLIES,
    NOT_COLLECTED,
    PCI_IDS,
    TENSOR_RATIOS,
)

DATA = Path(__file__).with_name("data")
CLASSES = (
    "nvidia", "amd", "intel-gpu", "jetson", "apple", "phone", "tablet", "laptop", "desktop-cpu", "server-cpu", "sbc",
)  # fmt: skip


def write_tables(folder: Path) -> None:
    """Write one TOML file a class; devices in the order collected, then chips and cards."""
    chips = {row["name"]: row for row in _read("chips.csv", ";")}
    rows: dict[str, list[Row]] = {class_: [] for class_ in CLASSES}
    for line in _read("devices.csv", ","):
        made = _apple(line) if line["class"] == "apple" else [_device(line, chips)]
        rows[line["class"]] += made
    for line in chips.values():
        rows[line["class"]].append(_chip(line))
    for line in _read("cards.csv", ";"):
        rows[line["class"]] += _card(line)
    for extra in NOT_COLLECTED:
        rows[str(extra["class"])].append(
            msgspec.convert(
                {k: v for k, v in extra.items() if k != "class"} | {"source": GENERAL, "verified": False}, Row
            )
        )
    for class_, found in rows.items():
        for row in found:
            row.aliases = list(dict.fromkeys([*row.aliases, *ALIASES.get(row.name, [])]))
            row.pci_ids = list(dict.fromkeys([*row.pci_ids, *PCI_IDS.get(row.name, [])]))
        document = tomlkit.document()
        document.add(
            tomlkit.comment(f"Known devices of class {class_}. Made by advisor/making/library_import.py;")
        )
        document.add(tomlkit.comment("since then edited here. After a change: make library"))
        document.add("class", tomlkit.item(class_))
        tables = tomlkit.aot()
        for row in found:
            tables.append(tomlkit.item(msgspec.to_builtins(row)))
        document.add("device", tables)
        (folder / f"{class_}.toml").write_text(tomlkit.dumps(document), "utf-8")


def _read(name: str, delimiter: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _numbers(text: str) -> list[float]:
    return [value for value in map(_number, text.split(",")) if value]


def expand_isa(text: str) -> list[str] | None:
    """Features of a short list like "avx2,avx_vnni" or "v9,sme", with those they imply; None where none is known."""
    text = re.sub(r"\([^)]*\)", "", text).strip()
    features: dict[str, None] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        for feature in ISA_GROUPS.get(word, (word,)):
            for implied in (*ISA_IMPLIES.get(feature, ()), feature):
                features[implied] = None
    return [f for f in features if f not in ("sse4.1", "rv64gc")] or None


def split_cores(text: str) -> tuple[int | None, int | None]:
    """(performance, efficiency) of "8", "2+6", "1+3+4", "6+8+2", "8+2 (6+2)"; equal cores are performance cores."""
    match = re.match(r"[\d+]+", text)
    if not match:
        return None, None
    groups = [int(part) for part in match[0].split("+") if part]
    if len(groups) == 1 or groups[0] == 0:
        return sum(groups), 0
    if (len(groups) == 3 and groups[0] >= 4) or match[0] == "2+8+2":  # Intel's P + E + LP-E
        return groups[0], groups[1] + groups[2]
    return sum(groups[:-1]), groups[-1]


def gpu_vendor_and_backend(gpu: str, class_: str) -> tuple[str | None, str | None]:
    """Who makes a GPU, and llama.cpp's backend for it."""
    adreno = re.match(r"Adreno (X?)(\d)", gpu)
    if adreno:
        return "Qualcomm", "opencl" if adreno[1] or int(adreno[2]) >= 7 else "vulkan"
    if class_ in ("nvidia", "jetson"):
        return "NVIDIA", "cuda"
    if class_ == "apple" or re.match(r"(A|M)\d+ ", gpu) or gpu.startswith("Apple"):
        return "Apple", "metal"
    if re.search(r"Mali|Immortalis", gpu):
        return "Arm", "vulkan"
    if re.search(r"Arc|UHD|HD \d|Iris|Intel|Flex|Max 1", gpu) or class_ == "intel-gpu":
        return "Intel", "vulkan"
    if gpu.startswith("Xclipse"):
        return "Samsung", "vulkan"
    if gpu.startswith("PowerVR"):
        return "Imagination", "vulkan"
    if re.search(r"Radeon|Vega|RDNA|Instinct", gpu) or class_ == "amd":
        rocm = re.search(r"RX (6[6-9]|7[6-9]|9)\d\d|PRO|Instinct|Radeon VII|MI\d", gpu)
        return "AMD", "rocm" if rocm else "vulkan"
    return None, "vulkan"


def nvidia_fp16(name: str, shader: float | None, tensor: float | None) -> tuple[float | None, str | None]:
    """(TFLOPS, how derived) of an NVIDIA card's matrix products: dense FP16 with FP32 accumulation."""
    if name in FP16_TFLOPS:
        return FP16_TFLOPS[name], "the maker's data sheet, dense"
    if tensor:
        return tensor, None
    if name in FP32_TFLOPS_BEFORE_TENSOR_CORES:
        return FP32_TFLOPS_BEFORE_TENSOR_CORES[
            name
        ], "the FP32 rate: this chip's FP16 rate is crippled or absent"
    for pattern, ratio, why in TENSOR_RATIOS:
        if shader and re.search(pattern, name):
            return round(shader * ratio, 2), f"derived: {ratio:g} x the shader FP16 rate ({why})"
    return shader, None


def _device(line: dict[str, str], chips: dict[str, dict[str, str]]) -> Row:
    class_, name = line["class"], line["name"].replace("(10th gen)", "10")
    name = line["name"]
    line = line | GAPS.get(name, {})
    card = class_ in ("nvidia", "amd", "intel-gpu") and not name.startswith("NVIDIA DGX")
    soc = re.sub(r"\s*\([^)]*\)", "", line["soc_or_chip"])
    chip_name = _stripped(name) if class_ in ("laptop", "desktop-cpu", "server-cpu") else soc
    if not re.search(r"Intel|AMD|Ampere|Threadripper", chip_name):
        chip_name = soc
    known = next((chips[n] for n in (chip_name, f"Google {chip_name}", soc) if n in chips), None)
    p, e = split_cores(known["cores"] if known else line["cpu_cores"])
    isa = expand_isa(known["isa"] if known else line["cpu_isa_features"])
    gpu = line["gpu_name"].split(" / ")[0]
    if "unused" in gpu:
        gpu = ""
    vendor, backend = gpu_vendor_and_backend(gpu, class_) if gpu else (None, None)
    unified = line["gpu_vram_gb"] in ("unified", "")
    fp16, fp16_source = _number(line["gpu_fp16_tflops"]), None
    if class_ in ("nvidia", "jetson"):
        fp16, fp16_source = nvidia_fp16(name, fp16, _number(line["gpu_fp16_tensor_tflops_dense"]))
    elif name in FP16_TFLOPS:
        fp16, fp16_source = FP16_TFLOPS[name], "derived: see FP16_TFLOPS in advisor/making/library_tables.py"
    else:
        fp16 = _number(line["gpu_fp16_tensor_tflops_dense"]) or fp16
        for pattern, ratio, why in TENSOR_RATIOS:
            if fp16 and not line["gpu_fp16_tensor_tflops_dense"] and re.search(pattern, name):
                fp16, fp16_source = (
                    round(fp16 * ratio, 2),
                    f"derived: {ratio:g} x the shader FP16 rate ({why})",
                )
    if fp16 is None and known and known["gpu_fp16_tflops"]:
        fp16, fp16_source = _number(known["gpu_fp16_tflops"]), GENERAL
    bandwidth = _number(line["mem_bandwidth_gbs"]) or (
        _number(line["gpu_bandwidth_gbs"]) if unified else None
    )
    ram = _numbers(line["ram_gb_options"])
    if unified and not ram and card:
        ram = [16.0, 32.0]
    if name.startswith("NVIDIA DGX"):
        ram = [128.0]
    chip = None if card else chip_name or None
    boost = (_number(known["boost_ghz"]) if known else None) or BOOST_GHZ.get(name)
    return Row(
        name=name,
        kind="card" if card else "chip" if class_ in ("desktop-cpu", "server-cpu") else "device",
        aliases=_generated_aliases(line, chip),
        chip=chip,
        vendor=_cpu_vendor(chip_name) if chip else None,
        architecture=_architecture(isa, chip) if chip else None,
        performance_cores=p,
        efficiency_cores=e,
        isa=isa,
        boost_ghz=boost,
        ram_gb=ram,
        memory_type=line["memory_type"] if unified and "Shared" not in line["memory_type"] else None,
        memory_bandwidth_gb_per_s=bandwidth,
        gpu=_gpu_name(gpu, name, card) if gpu else None,
        gpu_vendor=vendor,
        gpu_backend=backend,
        gpu_memory_gb=None if unified else _number(line["gpu_vram_gb"]),
        gpu_bandwidth_gb_per_s=None if unified else _number(line["gpu_bandwidth_gbs"]),
        gpu_fp16_tflops=fp16,
        gpu_architecture=_capability(line["soc_or_chip"]) if class_ in ("nvidia", "jetson") else None,
        npu="Hexagon NPU" if known and known["npu"] else None,
        npu_backend="hexagon" if known and known["npu"] else None,
        ios=name.startswith(("iPhone", "iPad")),
        year=int(line["year"]) if line["year"] else None,
        note=line.get("note"),
        source=line["source"] if name not in GAPS else f"{line['source']}; gaps: {GENERAL}",
        bandwidth_source=line["bw_source"] if line["bw_source"] not in ("", line["source"]) else None,
        fp16_source=fp16_source,
        verified="unverified" not in line["source"] and "general knowledge" not in line["source"],
    )


def _apple(line: dict[str, str]) -> list[Row]:
    """A row for every GPU variant of an Apple chip: they are sold under one name."""
    chip = re.sub(r" \d+c$", "", line["name"])
    collected = int(re.search(r"(\d+)-core GPU", line["gpu_name"])[1])  # type: ignore[index]
    known = chip, collected
    rows = []
    for cores, cpu_cores, tflops, ram in [
        (collected, line["cpu_cores"], None, line["ram_gb_options"]),
        *[v[2:] for v in APPLE_VARIANTS if v[:2] == known],
    ]:
        p, e = split_cores(cpu_cores)
        override = FP16_TFLOPS.get(f"{chip} ({cores}-core GPU)")
        rows.append(
            Row(
                name=f"{chip} ({cores}-core GPU)",
                kind="chip",
                aliases=[f"{chip} {cores}c"],
                chip=chip,
                vendor="Apple",
                architecture="aarch64",
                performance_cores=p,
                efficiency_cores=e,
                isa=expand_isa(line["cpu_isa_features"]),
                boost_ghz=BOOST_GHZ[chip.split()[1]],
                ram_gb=_numbers(ram),
                memory_type=line["memory_type"],
                memory_bandwidth_gb_per_s=_number(line["mem_bandwidth_gbs"]),
                gpu=f"{chip} ({cores}-core GPU)",
                gpu_vendor="Apple",
                gpu_cores=cores,
                gpu_backend="metal",
                gpu_fp16_tflops=override or tflops or _number(line["gpu_fp16_tflops"]),
                year=int(line["year"]),
                source=line["source"]
                if cores == collected
                else f"{GENERAL}; bandwidth as of the {line['name']}",
                bandwidth_source=line["bw_source"],
                fp16_source=f"{GENERAL}: GPU neural accelerators, 1024 FLOP per core and clock"
                if override
                else None,
                verified=False,
            )
        )
    return rows


def _chip(line: dict[str, str]) -> Row:
    p, e = split_cores(line["cores"])
    isa = expand_isa(line["isa"])
    gpu = line["gpu"]
    vendor, backend = gpu_vendor_and_backend(gpu, line["class"]) if gpu else (None, None)
    return Row(
        name=line["name"],
        kind="chip",
        aliases=[alias for alias in line["aliases"].split("|") if alias],
        chip=line["name"],
        vendor=_cpu_vendor(line["name"]),
        architecture=_architecture(isa, line["name"]),
        performance_cores=p,
        efficiency_cores=e,
        isa=isa,
        boost_ghz=_number(line["boost_ghz"]),
        ram_gb=_numbers(line["ram_gb"]) or [16.0, 32.0],
        memory_type=line["memory_type"],
        memory_bandwidth_gb_per_s=_number(line["bandwidth_gb_s"]),
        gpu=_gpu_name(gpu, line["name"], card=False) if gpu else None,
        gpu_vendor=vendor,
        gpu_backend=backend,
        gpu_fp16_tflops=_number(line["gpu_fp16_tflops"]),
        npu="Hexagon NPU" if line["npu"] else None,
        npu_backend="hexagon" if line["npu"] else None,
        ios=bool(re.match(r"Apple A\d", line["name"])),
        year=int(line["year"]),
        source=GENERAL,
        verified=False,
    )


def _card(line: dict[str, str]) -> list[Row]:
    """One row for each memory size."""
    vendor, backend = gpu_vendor_and_backend(line["name"], line["class"])
    sizes = _numbers(line["memory_gb"])
    rows = []
    for size in sizes or (None,):
        name = line["name"] if len(sizes) < 2 else f"{line['name']} {size:g} GB"
        rows.append(
            Row(
                name=name,
                kind="card",
                aliases=[alias for alias in line["aliases"].split("|") if alias],
                ram_gb=[] if size else [16.0, 32.0],
                memory_type=None if size else line["memory_type"],
                memory_bandwidth_gb_per_s=None if size else _number(line["bandwidth_gb_s"]),
                gpu=name,
                gpu_vendor=vendor,
                gpu_backend=backend if size else "vulkan",
                gpu_memory_gb=size,
                gpu_bandwidth_gb_per_s=_number(line["bandwidth_gb_s"]) if size else None,
                gpu_fp16_tflops=_number(line["fp16_tflops"]),
                gpu_architecture=None,
                pci_ids=[pci_id for pci_id in line["pci_ids"].split("|") if pci_id],
                year=int(line["year"]),
                source=GENERAL,
                verified=False,
            )
        )
    return rows


def _stripped(name: str) -> str:
    name = re.sub(r"\([^)]*\)", "", name)
    return re.sub(r" (office )?(laptop|desktop|mini-PC|handheld|MacBook).*$", "", name).strip()


def _gpu_name(gpu: str, name: str, card: bool) -> str:
    if card:
        return name
    return gpu if not re.match(r"(A|M)\d+ ", gpu) else f"Apple {gpu}"


def _cpu_vendor(name: str) -> str | None:
    table = (
        (r"^Apple", "Apple"), (r"Intel|Xeon|Lake", "Intel"), (r"AMD|Ryzen|EPYC|Threadripper|Zen", "AMD"),
        (r"Snapdragon|QCS", "Qualcomm"), (r"Dimensity|Helio", "MediaTek"), (r"Exynos", "Samsung"),
        (r"Tensor", "Google"),
        (r"BCM|RP3A0", "Broadcom"), (r"^RK", "Rockchip"), (r"Graviton|Neoverse", "AWS"), (r"Ampere", "Ampere"),
    )  # fmt: skip
    return next((vendor for pattern, vendor in table if re.search(pattern, name)), None)


def _architecture(isa: list[str] | None, name: str | None) -> str | None:
    if isa and "neon" in isa:
        return "aarch64"
    if (isa and "rvv" in isa) or re.search(r"EIC|JH7110|TH1520|SpacemiT", name or ""):
        return "riscv64"
    if (isa and any(f.startswith(("avx", "sse")) for f in isa)) or re.search(r"Intel|AMD|Core", name or ""):
        return "x86_64"
    return None


def _capability(chip: str) -> str | None:
    return next((value for prefix, value in COMPUTE_CAPABILITY if chip.startswith(prefix)), None)


def _generated_aliases(line: dict[str, str], chip: str | None) -> list[str]:
    """The names a row holds several of: "Orange Pi 5 Plus / Rock 5B"; a processor's own name."""
    name = line["name"]
    aliases = []
    bare = re.sub(r"\s*\([^)]*\)", "", name)
    if " / " in bare and "laptop" not in bare:
        aliases += [part.strip() for part in bare.split(" / ") if len(part.strip()) > 3]
    if chip and line["class"] == "laptop" and re.search(r"Intel|AMD", chip):
        aliases.append(chip)
    return aliases
