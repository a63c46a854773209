"""Recorded machines: what a user of each would expect the profile to say."""

from __future__ import annotations

import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from profiles.detect import detect
from profiles.device import Device
from profiles.ledger import missing_sources
from profiles.machine import Machine
from profiles.probes import memory as memory_probe
from profiles.probes.nvidia import ask_nvml, ask_nvml_apart
from tests.profiles.recordings import NAMES, machine, read_recording, unpack

GIB = 1 << 30


def profile_of(name: str, folder: Path) -> Device:
    return detect(machine(name, folder))


def message(device: Device, field: str) -> str:
    """All notes about a field, joined."""
    return "; ".join(note.message for note in device.notes if note.field == field)


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_names_its_source(name: str, tmp_path: Path) -> None:
    """No value of any machine's profile stands without where it was read, and no source without a value."""
    device = profile_of(name, tmp_path)
    assert missing_sources(device, device.sources) == []
    assert set(device.sources) == set(missing_sources(device, {}))


@pytest.mark.parametrize("name", NAMES)
def test_every_gap_a_user_asks_about_has_a_reason(name: str, tmp_path: Path) -> None:
    """A null in the facts an estimate needs comes with a note."""
    device = profile_of(name, tmp_path)
    gaps = [
        field
        for part, fields in (
            ("cpu", ("name", "isa", "boost_hz", "l1d_bytes")),
            ("memory", ("total_bytes", "available_bytes", "limit_bytes", "bandwidth_bytes_per_s")),
            ("storage", ("models_path", "models_free_bytes", "temporary_free_bytes")),
            ("power", ("source",)),
            ("platform", ("release", "machine_model", "virtual_machine", "container")),
        )
        for field in (f"{part}.{f}" for f in fields)
        if getattr(getattr(device, part), field.partition(".")[2]) is None
    ]
    for i, accelerator in enumerate(device.accelerators):
        gaps += [
            f"accelerators.{i}.{field}"
            for field in ("memory_bytes", "memory_bandwidth_bytes_per_s", "fp16_flops")
            if getattr(accelerator, field) is None
        ]
    assert set(gaps) - {note.field for note in device.notes} == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_recording_says_how_it_came_about(name: str) -> None:
    """Recorded and reconstructed trees are told apart."""
    assert read_recording(name).origin.startswith(("recorded: ", "reconstructed: "))


def test_a_hybrid_intel_chip_has_two_kinds_of_cores(tmp_path: Path) -> None:
    """An i7-12700H has 6 performance cores with two threads each and 8 efficiency cores."""
    cpu = profile_of("laptop-intel-hybrid", tmp_path).cpu
    assert (cpu.performance_cores, cpu.efficiency_cores, cpu.cores, cpu.threads) == (6, 8, 14, 20)
    assert (cpu.base_hz, cpu.boost_hz) == (2_700_000_000, 4_700_000_000)
    assert (cpu.l1d_bytes, cpu.l2_bytes, cpu.l3_bytes) == (48 << 10, 1280 << 10, 24 << 20)
    assert cpu.isa is not None
    assert {"avx2", "fma", "f16c", "avx_vnni"} <= set(cpu.isa)


def test_memory_modules_tell_the_bandwidth(tmp_path: Path) -> None:
    """Two channels of DDR5-4800 are 76.8 GB/s, at the configured speed and not the modules' own 5600."""
    device = profile_of("laptop-intel-hybrid", tmp_path)
    assert device.memory.type == "DDR5-4800"
    assert device.memory.bandwidth_bytes_per_s == 76.8e9
    assert "SMBIOS" in device.sources["memory.bandwidth_bytes_per_s"]


def test_a_firmware_table_only_root_may_read_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the modules the chip's usual bandwidth is taken, marked as such."""
    monkeypatch.setattr(memory_probe, "DMI_TABLE", "/nowhere")
    device = profile_of("laptop-intel-hybrid", tmp_path)
    assert device.memory.bandwidth_bytes_per_s == 76.8e9
    assert device.sources["memory.bandwidth_bytes_per_s"].startswith("library: Intel Core i7-12700H")
    assert "modules in this machine decide" in message(device, "memory.bandwidth_bytes_per_s")


def test_a_laptop_on_its_battery_says_so(tmp_path: Path) -> None:
    """The laptop's own battery counts; the mouse's at 5% does not."""
    power = profile_of("laptop-intel-hybrid", tmp_path).power
    assert (power.source, power.battery_percent) == ("battery", 73.0)


def test_an_integrated_gpu_shares_the_memory(tmp_path: Path) -> None:
    """Intel graphics bring no memory of their own; their bandwidth is the host's."""
    device = profile_of("laptop-intel-hybrid", tmp_path)
    (gpu,) = device.accelerators
    assert gpu.shared_memory is True
    assert gpu.memory_bytes is None
    assert gpu.memory_bandwidth_bytes_per_s == device.memory.bandwidth_bytes_per_s
    assert device.class_ == "laptop"


def test_an_apu_addresses_its_carve_out_and_mapped_memory(tmp_path: Path) -> None:
    """A Radeon 780M addresses 0.5 GiB of carve-out and 15.25 GiB of main memory, and shares it."""
    device = profile_of("laptop-amd-apu", tmp_path)
    (gpu,) = device.accelerators
    assert gpu.name == "AMD Radeon 780M"
    assert gpu.shared_memory is True
    assert gpu.memory_bytes == 536870912 + 16378732544
    assert gpu.compute_capability == "gfx1103"
    assert device.cpu.cores == 8
    assert device.storage.models_path == "/data/hf/hub"


def test_a_nested_limit_higher_up_binds(tmp_path: Path) -> None:
    """The slice allows 8 GiB though the scope inside of it allows 16; its page cache can be given back."""
    device = profile_of("desktop-cgroup-v2-nested", tmp_path)
    memory = device.memory
    assert memory.limit_bytes == 8 * GIB
    # 6 GiB in use, of which 3 + 0.75 GiB are page cache and 0.25 GiB reclaimable slab: 6 GiB can be had
    assert memory.budget_now_bytes == 6 * GIB
    assert memory.budget_cleared_bytes == 8 * GIB
    assert "work.slice" in device.sources["memory.budget_now_bytes"]
    assert device.cpu.usable_threads == 2


def test_a_container_sees_its_own_limit_not_the_hosts_memory(tmp_path: Path) -> None:
    """memory.high throttles below memory.max, so it is the limit; the affinity mask leaves 4 of 32 threads."""
    device = profile_of("docker-cgroup-v2", tmp_path)
    assert device.memory.limit_bytes == 3 * GIB
    assert device.memory.budget_now_bytes == 3 * GIB - GIB // 2
    assert device.memory.total_bytes == 65786248 << 10
    assert device.cpu.usable_threads == 4
    assert device.platform.container == "docker"


def test_page_cache_of_a_version_1_group_is_given_back(tmp_path: Path) -> None:
    """A group that shows 1.9 of 2 GiB used holds 1.5 GiB of page cache: 1.6 GiB can be had."""
    device = profile_of("container-cgroup-v1", tmp_path)
    assert device.memory.limit_bytes == 2 * GIB
    assert device.memory.budget_now_bytes == 2 * GIB - (2040109465 - 1207959552 - 402653184)
    assert device.cpu.usable_threads == 1  # 1.5 processors' worth of time
    assert (device.cpu.cores, device.cpu.threads) == (14, 28)
    assert device.memory.available_bytes == (90000000 + 20000000 + 1000000) << 10  # an old kernel
    assert device.platform.container == "podman"


def test_an_unlimited_version_1_group_is_no_limit(tmp_path: Path) -> None:
    """The number 9223372036854771712 that cgroup v1 writes for "no limit" is not taken for a limit."""
    device = profile_of("vm-epyc-cgroup-v1", tmp_path)
    assert device.memory.limit_bytes is None
    assert message(device, "memory.limit_bytes") == "no limit is set for this process's control group"
    assert device.memory.budget_now_bytes == device.memory.available_bytes
    assert device.cpu.isa is not None
    assert {"avx512_vnni", "avx512_bf16"} <= set(device.cpu.isa)
    assert device.platform.virtual_machine not in (None, "none")


def test_a_raspberry_pi_is_known_by_its_device_tree(tmp_path: Path) -> None:
    """The chip comes from the device tree, the bandwidth from the library, by the board's name."""
    device = profile_of("raspberry-pi-5", tmp_path)
    assert (device.class_, device.cpu.name, device.cpu.performance_cores) == ("sbc", "BCM2712", 4)
    assert device.memory.bandwidth_bytes_per_s == 17.1e9
    assert device.sources["memory.bandwidth_bytes_per_s"].startswith("library: Raspberry Pi 5")
    assert device.platform.virtual_machine == "none"


def test_a_phone_is_known_by_its_chip(tmp_path: Path) -> None:
    """SM8650 is the Snapdragon 8 Gen 3: its Adreno is filled in, its two A520 are the efficiency cores."""
    device = profile_of("phone-snapdragon-8-gen-3", tmp_path)
    assert device.class_ == "phone"
    assert (device.cpu.performance_cores, device.cpu.efficiency_cores) == (6, 2)
    assert device.cpu.isa == ("neon", "dotprod", "fp16", "i8mm", "bf16")  # not sve: only one core has it
    assert device.accelerators[0].name == "Adreno 750"
    assert device.accelerators[0].backend == "opencl"
    assert device.sources["accelerators.0.name"].startswith("library:")


def test_capacities_tell_big_and_little_cores_apart(tmp_path: Path) -> None:
    """A kernel that names no parts still tells the cores' capacity."""
    device = profile_of("phone-exynos-capacity", tmp_path)
    assert device.class_ == "tablet"
    assert (device.cpu.performance_cores, device.cpu.efficiency_cores) == (4, 4)
    assert device.accelerators[0].name == "Mali-G68 MP5"
    assert message(device, "storage.models_path").startswith("no home folder")


def test_a_mac_has_metals_limit(tmp_path: Path) -> None:
    """Metal gives two thirds of 32 GB; bandwidth and TFLOPS are those of the 16-core variant."""
    device = profile_of("mac-m2-pro", tmp_path)
    (gpu,) = device.accelerators
    assert device.class_ == "apple"
    assert (device.cpu.performance_cores, device.cpu.efficiency_cores) == (6, 4)
    assert gpu.memory_limit_bytes == 32 * GIB * 2 // 3
    assert gpu.fp16_flops == 5.7e12
    assert device.memory.bandwidth_bytes_per_s == 200e9
    assert device.memory.available_bytes == (400000 + 480000 + 20000 + 10000) * 16384


def test_the_owners_metal_limit_wins(tmp_path: Path) -> None:
    """sysctl iogpu.wired_limit_mb overrides Metal's share."""
    commands = dict(read_recording("mac-m2-pro").commands)
    commands["sysctl -a"] = commands["sysctl -a"].replace("wired_limit_mb: 0", "wired_limit_mb: 28000")
    device = detect(machine("mac-m2-pro", tmp_path, commands=commands))
    assert device.accelerators[0].memory_limit_bytes == 28000 << 20


def test_bandwidth_of_an_nvidia_card_follows_from_bus_and_clock(tmp_path: Path) -> None:
    """384 bit at 10,501 MHz are 1,008 GB/s; the integrated Radeon beside it is not the class."""
    device = profile_of("desktop-rtx-4090", tmp_path)
    card, graphics = device.accelerators
    assert device.class_ == "nvidia"
    assert card.memory_bandwidth_bytes_per_s == pytest.approx(1008.096e9)
    assert (card.memory_bytes, card.memory_free_bytes) == (25757220864, 24300000000)
    assert (card.compute_capability, card.power_limit_w) == ("8.9", 450.0)
    assert card.fp16_flops == 165.2e12
    assert device.sources["accelerators.0.fp16_flops"].startswith("library:")
    assert graphics.shared_memory is True
    assert device.platform.machine_model is None  # the board maker's placeholder is no model


def test_a_mig_instance_has_its_share(tmp_path: Path) -> None:
    """Half of the card's memory goes with half of its bandwidth; a vGPU's refusals become notes."""
    device = profile_of("server-h100-mig", tmp_path)
    instance, virtual = device.accelerators
    assert instance.memory_bytes == 42760404992
    assert instance.memory_bandwidth_bytes_per_s == pytest.approx(5120 / 8 * 2619e6 * 2 / 2)
    assert "MIG" in message(device, "accelerators.0")
    assert virtual.memory_bandwidth_bytes_per_s == 300.1e9  # NVML refuses, the library knows the card
    assert message(device, "accelerators.1.power_limit_w") == "NVML: Not Supported"


def test_a_broken_nvml_is_a_note_not_a_crash(tmp_path: Path) -> None:
    """The card on the bus and NVML's words are told; the rest of the profile stands."""
    device = profile_of("desktop-broken-nvml", tmp_path)
    assert device.accelerators == ()
    assert "Driver/library version mismatch" in message(device, "accelerators")
    assert "0000:01:00.0" in message(device, "accelerators")
    assert device.memory.total_bytes == 16000000 << 10


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "crashed (exit status -9)"),
        (lambda: time.sleep(60), "no answer within 0.2 s"),
    ],
    ids=["crash", "hang"],
)
def test_a_driver_that_crashes_or_hangs_costs_a_note_and_not_the_program(
    broken: Callable[[], Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVML is asked in a child process, whose end is told as the failure."""
    monkeypatch.setattr("profiles.probes.nvidia.ask_nvml", broken)
    assert said in (ask_nvml_apart(0.2).failure or "")


def test_what_nvml_says_comes_back_from_the_child_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every card and every field survives the way through the pipe."""
    answer = read_recording("desktop-rtx-4090").nvml
    assert answer is not None
    monkeypatch.setattr("profiles.probes.nvidia.ask_nvml", lambda: answer)
    assert ask_nvml_apart(5.0) == answer


def test_a_lost_card_does_not_take_the_others_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cards that answer are told, and the lost one is named."""
    import pynvml

    def handle(index: int) -> int:
        if index == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return index

    for name, result in (("Init", None), ("Shutdown", None), ("DeviceGetCount", 2)):
        monkeypatch.setattr(pynvml, f"nvml{name}", lambda result=result: result)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", handle)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda _: "NVIDIA GeForce RTX 3090")
    answer = ask_nvml()
    assert [card.name for card in answer.cards] == ["NVIDIA GeForce RTX 3090"]
    assert answer.failure is None
    assert "card 1" in (answer.lost or "")


def test_cards_of_amd_and_intel_have_memory_of_their_own(tmp_path: Path) -> None:
    """libdrm's list tells an XTX from an XT by revision; an Arc's memory is its resized PCI window."""
    device = profile_of("desktop-rx-7900-xtx", tmp_path)
    radeon, arc = device.accelerators
    assert (radeon.name, radeon.compute_capability) == ("AMD Radeon RX 7900 XTX", "gfx1100")
    assert radeon.memory_free_bytes == 25753026560 - 1073741824
    assert radeon.memory_bandwidth_bytes_per_s == 960e9
    assert (arc.name, arc.memory_bytes, arc.shared_memory) == ("Intel Arc A380", 6 * GIB, False)
    assert device.class_ == "amd"


def test_a_jetsons_gpu_shares_the_memory(tmp_path: Path) -> None:
    """NVML refuses the memory question there; the library knows the kit's bandwidth."""
    device = profile_of("jetson-orin-nano", tmp_path)
    assert device.class_ == "jetson"
    assert device.accelerators[0].shared_memory is True
    assert device.accelerators[0].memory_bandwidth_bytes_per_s == 68.22e9


@pytest.mark.parametrize("part", ["cpu", "memory", "storage", "power", "platform", "nvidia"])
def test_one_broken_probe_does_not_break_the_profile(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever probe fails, the others answer, and a note says which failed and why."""

    def broken(*_: object) -> None:
        raise RuntimeError("the kernel changed its format")

    if part == "nvidia":
        recorded = machine("desktop-rtx-4090", tmp_path)
        recorded.nvml = broken  # type: ignore[assignment]
    else:
        monkeypatch.setattr(f"profiles.detect.probe_{part}", broken)
        recorded = machine("desktop-rtx-4090", tmp_path)
    device = detect(recorded)
    assert any("the kernel changed its format" in note.message for note in device.notes)
    assert device.platform.system == "linux" or device.cpu.name is not None
    assert missing_sources(device, device.sources) == []


def test_an_empty_machine_gives_nulls_and_notes(tmp_path: Path) -> None:
    """A system that shows nothing at all is profiled without a crash and without a single invented number."""
    device = detect(Machine(tmp_path, commands={}, environ={}, disk_free={}, system="linux"))
    assert device.memory.total_bytes is None
    assert device.memory.budget_cleared_bytes is None
    assert device.accelerators == ()
    assert "cannot be read" in message(device, "memory.total_bytes")


@pytest.mark.parametrize("damage", ["", "\0\0\0", "processor : x\nflags", "9" * 4000])
def test_damaged_files_are_no_crash(damage: str, tmp_path: Path) -> None:
    """Whatever a file of /proc or /sys holds, the profile comes out."""
    recording = read_recording("container-cgroup-v1")
    unpack(dict.fromkeys(recording.files, damage), tmp_path)
    device = detect(Machine(tmp_path, commands={}, environ={}, disk_free={}, system="linux"))
    assert not any("the probe failed" in note.message for note in device.notes)


def test_this_very_machine_is_profiled() -> None:
    """The live machine: a positive amount of memory, threads to use, every fact with its source."""
    device = detect()
    assert device.memory.total_bytes is not None
    assert device.memory.budget_now_bytes is not None
    assert 0 < device.memory.budget_now_bytes <= device.memory.total_bytes
    assert device.cpu.usable_threads is not None
    assert device.cpu.usable_threads >= 1
    assert missing_sources(device, device.sources) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_files_of_proc_sys_can_be_read() -> None:
    """Linux refuses to read them at 4 MiB or more at once."""
    assert Machine().read("/proc/sys/kernel/osrelease") == platform.release()
