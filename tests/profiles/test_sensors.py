"""Energy, temperature and clock, read from recorded trees: the machines that have them are elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from profiles import energy
from profiles.energy import EnergyMeter, energy_meter
from profiles.machine import Machine
from profiles.sensors import Reading, read_sensors
from tests.profiles.recordings import unpack

PACKAGE = "/sys/class/powercap/intel-rapl:0"
RAPL = {
    f"{PACKAGE}/name": "package-0\n",
    f"{PACKAGE}/energy_uj": "1000000\n",
    f"{PACKAGE}/max_energy_range_uj": "262143000000\n",
    # The cores are a part of the package: counted in it, not beside it.
    "/sys/class/powercap/intel-rapl:0:0/name": "core\n",
    "/sys/class/powercap/intel-rapl:0:0/energy_uj": "500000\n",
}
BATTERY = {
    "/sys/class/power_supply/BAT0/type": "Battery\n",
    "/sys/class/power_supply/BAT0/status": "Discharging\n",
    "/sys/class/power_supply/BAT0/power_now": "12000000\n",
}


def machine(folder: Path, files: dict[str, str]) -> Machine:
    unpack(files, folder)
    return Machine(folder, commands={}, environ={}, system="linux")


def test_rapl_counts_the_joules_of_the_package(tmp_path: Path) -> None:
    """Microjoules since the meter was made, of the package and not twice of its cores."""
    meter = energy_meter(machine(tmp_path, RAPL))
    assert isinstance(meter, EnergyMeter)
    unpack({f"{PACKAGE}/energy_uj": "31000000\n"}, tmp_path)
    assert meter.joules() == pytest.approx(30)
    assert (meter.scope, meter.source) == ("the processor package", "RAPL")


def test_a_rapl_counter_that_starts_again_loses_nothing(tmp_path: Path) -> None:
    """At 65 W it turns over once in 67 minutes: in the middle of a long run."""
    meter = energy_meter(machine(tmp_path, {**RAPL, f"{PACKAGE}/energy_uj": "262142000000\n"}))
    assert isinstance(meter, EnergyMeter)
    unpack({f"{PACKAGE}/energy_uj": "4000000\n"}, tmp_path)
    assert meter.joules() == pytest.approx(5)
    unpack({f"{PACKAGE}/energy_uj": "6000000\n"}, tmp_path)
    assert meter.joules() == pytest.approx(7)


def test_a_counter_only_root_may_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux hides RAPL from users since 2020; the answer is null with that reason."""
    local = machine(tmp_path, RAPL)
    monkeypatch.setattr(local, "denied", lambda path: path.endswith("energy_uj"))
    assert "only root" in str(energy_meter(local))


def test_a_counter_that_vanishes_gives_no_number(tmp_path: Path) -> None:
    """Unknown is None, from then on."""
    meter = energy_meter(machine(tmp_path, RAPL))
    assert isinstance(meter, EnergyMeter)
    (tmp_path / PACKAGE.lstrip("/") / "energy_uj").unlink()
    assert meter.joules() is None
    unpack({f"{PACKAGE}/energy_uj": "31000000\n"}, tmp_path)
    assert meter.joules() is None


def test_a_battery_gives_the_energy_of_the_whole_device(tmp_path: Path) -> None:
    """Watts drawn, added up over time; a phone gives current and voltage instead."""
    meter = energy_meter(machine(tmp_path, BATTERY))
    assert isinstance(meter, EnergyMeter)
    assert meter.scope == "the whole device"
    phone = machine(
        tmp_path / "phone",
        {
            "/sys/class/power_supply/battery/current_now": "-1500000\n",
            "/sys/class/power_supply/battery/voltage_now": "4000000\n",
        },
    )
    clock = iter([0.0, 10.0])
    drawn = energy._Drawn(phone, "/sys/class/power_supply/battery", lambda: next(clock))
    assert drawn.joules() == pytest.approx(60)


@pytest.mark.parametrize("files", [{}, {**BATTERY, "/sys/class/power_supply/BAT0/status": "Charging\n"}])
def test_without_a_counter_the_reason_is_said(files: dict[str, str], tmp_path: Path) -> None:
    """A battery that charges tells what flows into it, not what is used."""
    assert "no counter" in str(energy_meter(machine(tmp_path, files)))


class _RefusedError(Exception):
    pass


def test_nvidia_cards_are_counted_together() -> None:
    """NVML counts millijoules; a card older than Volta refuses."""
    spent = {"a": 1000, "b": 2000}
    nvml = SimpleNamespace(
        NVMLError=_RefusedError, nvmlDeviceGetTotalEnergyConsumption=lambda card: spent[card]
    )
    meter = energy._card_meter(nvml, ["a", "b"])
    assert isinstance(meter, EnergyMeter)
    spent["b"] = 5000
    assert meter.joules() == pytest.approx(3)

    def refuse(card: str) -> int:
        raise _RefusedError

    old = SimpleNamespace(NVMLError=_RefusedError, nvmlDeviceGetTotalEnergyConsumption=refuse)
    assert "older than Volta" in str(energy._card_meter(old, ["a"]))


def test_temperature_and_clock_are_those_of_the_processor(tmp_path: Path) -> None:
    """The hottest sensor of the CPU, not the disk's or the battery's; a sensor that is not connected is left out."""
    files = {
        "/sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
        "/sys/class/thermal/thermal_zone0/temp": "81000\n",
        "/sys/class/thermal/thermal_zone1/type": "battery\n",
        "/sys/class/thermal/thermal_zone1/temp": "95000\n",
        "/sys/class/hwmon/hwmon0/name": "coretemp\n",
        "/sys/class/hwmon/hwmon0/temp1_input": "83000\n",
        "/sys/class/hwmon/hwmon0/temp2_input": "-273000\n",
        "/sys/class/hwmon/hwmon1/name": "nvme\n",
        "/sys/class/hwmon/hwmon1/temp1_input": "99000\n",
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "3000000\n",
        "/sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "2000000\n",
        "/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "7\n",
    }
    reading = read_sensors(machine(tmp_path, files))
    assert reading == Reading(temperature_c=83.0, clock_hz=2.5e9, throttled=7)


def test_a_machine_without_sensors_is_unknown_and_not_cold(tmp_path: Path) -> None:
    """Virtual machines show none."""
    assert read_sensors(machine(tmp_path, {})) == Reading()
