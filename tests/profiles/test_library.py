"""The library: found by any spelling, honest where a name says too little, current with its sources."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.entry import Index
from profiles.errors import UnknownDeviceError
from profiles.ledger import missing_sources
from profiles.library import INDEX, find, load_library, search

GIB = 1 << 30


def test_the_index_is_current() -> None:
    """The shipped index was made from the TOML files beside it, byte for byte, by the code that is here."""
    making = pytest.importorskip("advisor.making.library", reason="how tables are made is not in the wheel")
    index = msgspec.json.decode(INDEX.read_bytes(), type=Index)
    now = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in INDEX.parent.glob("*.toml")}
    assert index.sha256 == now
    assert making.encode_index(making.compile_index()) == INDEX.read_bytes()


@pytest.mark.parametrize(
    "class_", ["nvidia", "amd", "intel-gpu", "jetson", "apple", "phone", "tablet", "laptop"]
)
def test_every_device_with_a_gpu_has_enough_numbers(class_: str) -> None:
    """Each entry has a bandwidth and an amount of memory to put a model into."""
    for entry in load_library().entries:
        if entry.class_ == class_:
            device = find(entry.name)
            accelerator = device.accelerators[0]
            assert accelerator.memory_bandwidth_bytes_per_s, entry.name
            assert accelerator.memory_bytes or device.memory.total_bytes, entry.name


@pytest.mark.parametrize("class_", ["desktop-cpu", "server-cpu", "sbc", "phone", "laptop", "apple"])
def test_every_host_has_enough_numbers(class_: str) -> None:
    """Each processor has cores, memory and a bandwidth."""
    for entry in load_library().entries:
        if entry.class_ == class_:
            device = find(entry.name)
            assert device.memory.total_bytes, entry.name
            assert device.memory.bandwidth_bytes_per_s, entry.name
            assert device.cpu.cores, entry.name


def test_every_figure_has_its_source() -> None:
    """What is general knowledge says that it is unverified."""
    for entry in load_library().entries:
        device = find(entry.name)
        assert missing_sources(device, device.sources) == [], entry.name
        if not entry.verified:
            assert "general knowledge" in entry.source, entry.name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("RTX 4080", "NVIDIA GeForce RTX 4080"),
        ("rtx4090", "NVIDIA GeForce RTX 4090"),
        ("NVIDIA RTX 4090 24GB", "NVIDIA GeForce RTX 4090"),
        ("NVIDIA GeForce RTX 4070 Laptop GPU", "NVIDIA GeForce RTX 4070 Mobile"),
        ("RTX 4060 Ti 16GB", "NVIDIA GeForce RTX 4060 Ti 16 GB"),
        ("Tesla V100-SXM2-16GB", "NVIDIA Tesla V100 SXM2 16 GB"),
        ("NVIDIA A100-SXM4-80GB", "NVIDIA A100 SXM4 80 GB"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM5 80 GB"),
        ("Apple M2 Ultra (76-core GPU)", "Apple M2 Ultra (76-core GPU)"),
        ("Apple M4 Max 12P+4E+40GPU", "Apple M4 Max (40-core GPU)"),
        ("Apple M4 Max 12P+4E", "Apple M4 Max (40-core GPU)"),
        ("Mac Studio (M3 Ultra 512GB)", "Apple M3 Ultra (80-core GPU)"),
        ("MacBook Pro 16 M2 Max 64GB", "Apple M2 Max (30-core GPU)"),
        ("AMD Ryzen 9 7950X 16-Core Processor", "AMD Ryzen 9 7950X desktop"),
        ("AMD Ryzen 7 8745H w/ Radeon 780M Graphics", "AMD Ryzen 7 8745H mini-PC"),
        ("12th Gen Intel(R) Core(TM) i7-12700H", "Intel Core i7-12700H"),
        ("Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz", "Intel Xeon Platinum 8370C"),
        ("i5-12400F", "Intel Core i5-12400 desktop"),
        ("BCM2712", "BCM2712"),
        ("Raspberry Pi 5 Model B Rev 1.0", "Raspberry Pi 5 / CM5 / 500"),
        ("Pi 5 - 16GB", "Raspberry Pi 5 / CM5 / 500"),
        ("SM8650", "Snapdragon 8 Gen 3"),
        ("Adreno 750", "Snapdragon 8 Gen 3"),
        ("Pixel 9", "Google Pixel 9"),
        ("iphone15pro", "iPhone 15 Pro"),
        ("Xiaomi 14 (Snapdragon 8 Gen 3)", "Xiaomi 14"),
        ("MediaTek MT6899 (Dimensity 8400 class)", "Dimensity 8400"),
    ],
)
def test_a_device_is_found_by_what_people_and_drivers_write(text: str, name: str) -> None:
    """Vendor words, trade marks, sizes and spaces do not matter."""
    assert find(text).name == name


@pytest.mark.parametrize("name", [entry.name for entry in load_library().entries][::7])
def test_every_name_finds_itself(name: str) -> None:
    """The names `devices list` prints are names `--device` takes, in any case."""
    assert find(name).name == name
    assert find(f"  {name.upper()} ").name == name


def test_a_size_in_the_name_picks_the_memory() -> None:
    """ "Raspberry Pi 5 8GB" has 8 GiB; without a size the smallest is taken and a note says so."""
    assert find("Raspberry Pi 5 8GB").memory.total_bytes == 8 * GIB
    device = find("Raspberry Pi 5")
    assert device.memory.total_bytes == 2 * GIB
    assert any("smallest was taken" in note.message for note in device.notes)


def test_an_entrys_name_with_a_size_it_is_sold_with_is_that_entry() -> None:
    """Even where the name is a part of others': the wizard's list is made of such names."""
    for entry in load_library().entries:
        for size in entry.sizes_gb if len(entry.sizes_gb) > 1 else ():
            device = find(f"{entry.name} {size:g}GB")
            assert device.name == entry.name
            assert size * GIB in (
                device.memory.total_bytes,
                *(each.memory_bytes for each in device.accelerators),
            ), f"{entry.name} {size:g}GB"


def test_a_host_with_a_card_is_both() -> None:
    """The card decides the class; the host keeps its memory and its bandwidth."""
    device = find("Pi 5 - 8GB (AMD RX 7600)")
    assert device.class_ == "amd"
    assert device.memory.total_bytes == 8 * GIB
    assert device.memory.bandwidth_bytes_per_s == 17.1e9
    assert device.accelerators[0].memory_bandwidth_bytes_per_s == 288e9
    assert missing_sources(device, device.sources) == []


@pytest.mark.parametrize("text", ["M3 Max", "H100", "A100", "Galaxy S22", "RTX", "iPhone"])
def test_an_ambiguous_name_offers_what_it_may_mean(text: str) -> None:
    """Variants whose speed differs are not chosen between."""
    with pytest.raises(UnknownDeviceError, match=r"ambiguous|no device") as caught:
        find(text)
    assert len(caught.value.nearest) >= 2


def test_near_equal_variants_are_not_worth_an_error() -> None:
    """An M4 Pro with 16 or 20 GPU cores reads memory equally fast: the smaller is taken, and a note says so."""
    device = find("Apple M4 Pro")
    assert device.name == "Apple M4 Pro (16-core GPU)"
    assert any("the smaller was taken" in note.message for note in device.notes)


def test_an_unknown_name_gets_the_nearest() -> None:
    """A slip of the fingers is answered with what was meant."""
    with pytest.raises(UnknownDeviceError) as caught:
        find("RTX 4009")
    assert any("RTX 4" in name for name in caught.value.nearest)


def test_a_part_of_a_name_that_is_not_known_is_told() -> None:
    """The card of an unknown computer is used, and the note says that the computer was left aside."""
    device = find("System76 Thelio Astra (Nvidia A4000)")
    assert device.name == "NVIDIA RTX A4000"
    assert any("System76 Thelio Astra" in note.message for note in device.notes)


def test_matrix_rates_are_those_of_tensor_cores() -> None:
    """GeForce cards run FP32 accumulation at half rate; Pascal's crippled FP16 rate is not shown at all."""
    assert find("RTX 3090").accelerators[0].fp16_flops == pytest.approx(71e12, rel=0.01)
    assert find("RTX A6000").accelerators[0].fp16_flops == pytest.approx(154.8e12, rel=0.01)
    assert find("Tesla T4").accelerators[0].fp16_flops == pytest.approx(65e12, rel=0.01)
    assert find("GTX 1080 Ti").accelerators[0].fp16_flops == pytest.approx(11.3e12, rel=0.01)


def test_an_iphone_gives_an_app_half_of_its_memory() -> None:
    """iOS ends an application that takes more; 6,373 MB were read on a 12 GB iPhone 17 Pro."""
    device = find("iPhone 17 Pro")
    assert device.memory.budget_cleared_bytes == pytest.approx(6373e6, rel=0.06)
    assert device.accelerators[0].memory_limit_bytes == device.memory.budget_cleared_bytes


def test_search_finds_by_chip_and_graphics() -> None:
    """Every word must be somewhere in the name, the aliases, the chip or the graphics."""
    assert "Xiaomi 14" in [entry.name for entry in search("adreno 750")]
    assert search("no such thing") == []


@given(st.text(max_size=60))
def test_no_text_breaks_the_search(text: str) -> None:
    """Any text gives a device, or a refusal that repeats it."""
    with contextlib.suppress(UnknownDeviceError):
        assert find(text).name


def test_a_wrong_table_is_refused_with_its_name(tmp_path: Path) -> None:
    """Whoever adds a device learns which file and field is wrong."""
    making = pytest.importorskip("advisor.making.library", reason="how tables are made is not in the wheel")
    (tmp_path / "phone.toml").write_text(
        'class = "phone"\n[[device]]\nname = "X"\nramm_gb = [8]\nsource = "me"\nverified = false\n'
    )
    with pytest.raises(ValueError, match=r"phone\.toml: .*ramm_gb"):
        making.compile_index(tmp_path)


def test_a_laptops_card_is_not_the_desktop_card_of_the_same_number() -> None:
    """ "RTX 4090 Laptop" has another memory and another bandwidth than "RTX 4090"."""
    laptop, desktop = find("RTX 4090 Laptop").accelerators[0], find("RTX 4090").accelerators[0]
    assert laptop.memory_bytes is not None
    assert desktop.memory_bytes is not None
    assert laptop.memory_bytes < desktop.memory_bytes


def test_a_typing_error_in_the_makers_name_is_answered_with_the_device() -> None:
    """ "Rasberry Pi 5" offers the Raspberry Pi 5."""
    with pytest.raises(UnknownDeviceError) as caught:
        find("Rasberry Pi 5")
    assert any("Raspberry Pi 5" in name for name in caught.value.nearest)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("RTX 4060 Ti 12GB", "has 8 GB, not 12 GB"),
        ("GTX 1080 Ti 8GB", "has 11 GB, not 8 GB"),
        ("RTX 4090, 128GB RAM", "has 24 GB, not 128 GB"),
        ("RTX 4090 + RTX 3090", "names several cards"),
        ("Ryzen 9 7950X (RTX 4090 + RTX 3090)", "names several cards"),
    ],
)
def test_a_name_that_no_device_fits_is_no_other_device(name: str, said: str) -> None:
    """A size the card is not made with and a second card are not left aside."""
    with pytest.raises(UnknownDeviceError, match=said):
        find(name)


def test_the_size_of_a_card_is_not_its_hosts() -> None:
    """A size goes with what it stands beside."""
    assert find("RTX 4090 24GB (Ryzen 9 7950X)").memory.total_bytes == 32 * GIB
    assert find("Ryzen 9 7950X 64GB (RTX 4090 24GB)").memory.total_bytes == 64 * GIB
    assert find("Pi 5 - 8GB (AMD RX 7600)").memory.total_bytes == 8 * GIB


def test_an_ambiguous_name_is_answered_with_the_names_it_is_part_of() -> None:
    """The name "Raspberry Pi" has nothing to do with a Pixel."""
    with pytest.raises(UnknownDeviceError) as caught:
        find("Raspberry Pi")
    assert caught.value.nearest
    assert all("Pi" in name.split() for name in caught.value.nearest)


def test_a_makers_series_may_be_left_out() -> None:
    """The name "MI300X" is enough."""
    assert find("MI300X 192GB").name == "AMD Instinct MI300X"
