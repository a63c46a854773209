"""The noise gate: what counts as a disturbance, and what a few repetitions are worth."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from profiles.errors import NoisyError
from profiles.machine import Machine
from profiles.noise import Taken, between_runs, conditions, cpu_times, taken, wait_until_quiet
from profiles.rounds import Round, judge
from profiles.spread import LEAST, spread
from tests.profiles.recordings import unpack

STAT = "cpu  {total}\ncpu0 {cpu0}\ncpu1 {cpu1}\nintr 1 2 3\n"


def machine(folder: Path, files: dict[str, str]) -> Machine:
    unpack(files, folder)
    return Machine(folder, commands={}, environ={}, system="linux")


def proc_stat(busy: int, steal: int) -> str:
    """Two CPUs that were each busy, and robbed, for so many hundredths of a second."""
    line = f"{busy} 0 0 5000 0 0 0 {steal} 0 0"
    return STAT.format(total=line, cpu0=line, cpu1=line)


def looked(tmp_path: Path, busy: int, steal: int = 0, own_s: float = 0.0) -> Taken:
    """What others took in a second in which each of two CPUs worked for `busy` hundredths of it."""
    before = cpu_times(machine(tmp_path / "before", {"/proc/stat": proc_stat(1000, 100)}))
    after = cpu_times(machine(tmp_path / "after", {"/proc/stat": proc_stat(1000 + busy, 100 + steal)}))
    assert before is not None
    assert after is not None
    return taken(before, after, own_s, 1.0)


def test_an_idle_machine_gives_no_reason(tmp_path: Path) -> None:
    """A few hundredths of a CPU are what every system uses for itself."""
    seen = looked(tmp_path, busy=2)
    assert seen.shortage(2) <= 0.05
    assert seen.reasons(2) == ()


def test_our_own_work_is_not_a_disturbance(tmp_path: Path) -> None:
    """Both CPUs were fully busy, and all of it was ours."""
    assert looked(tmp_path, busy=100, own_s=2.0).shortage(2) == 0


def test_other_programs_count_only_where_they_take_what_the_test_needs(tmp_path: Path) -> None:
    """One busy CPU of two leaves room for one thread and halves the other of two."""
    seen = looked(tmp_path, busy=50)
    assert seen.shortage(1) == 0
    assert seen.shortage(2) == pytest.approx(0.5)
    assert "1.0 of 2 CPUs" in seen.reasons(2)[0]
    assert "memory bandwidth" in seen.reasons(1)[0]


def test_time_the_hypervisor_withholds_is_named_as_such(tmp_path: Path) -> None:
    """Steal time is nobody's program: there is nothing to close."""
    seen = looked(tmp_path, busy=0, steal=30)
    assert seen.shortage(2) == pytest.approx(0.3)
    assert "hypervisor" in seen.reasons(2)[0]


def test_a_machine_without_counters_is_not_called_quiet(tmp_path: Path) -> None:
    """Nothing is known of it, which is None and not zero."""
    assert cpu_times(machine(tmp_path, {})) is None


GOVERNED = {"/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n"}
DRIVER = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver"
BATTERY = {
    "/sys/class/power_supply/BAT0/type": "Battery\n",
    "/sys/class/power_supply/BAT0/status": "Discharging\n",
    "/sys/class/power_supply/BAT0/capacity": "71\n",
}
RASPBERRY = "/sys/devices/platform/soc/soc:firmware/get_throttled"


@pytest.mark.parametrize(
    ("files", "word"),
    [
        (BATTERY, "battery"),
        ({**GOVERNED, DRIVER: "acpi-cpufreq\n"}, "powersave"),
        ({RASPBERRY: "50005\n"}, "under-voltage"),
        ({RASPBERRY: "4\n"}, "throttled"),
    ],
)
def test_what_holds_the_clock_down_is_said(files: dict[str, str], word: str, tmp_path: Path) -> None:
    """Battery, governor and a board's own protection, each in words."""
    assert word in " ".join(conditions(machine(tmp_path, files)))


@pytest.mark.parametrize("files", [{**GOVERNED, DRIVER: "intel_pstate\n"}, {RASPBERRY: "50000\n"}, {}])
def test_what_everybody_runs_with_is_not_worth_a_word(files: dict[str, str], tmp_path: Path) -> None:
    """intel_pstate calls its normal mode "powersave"; a board throttled in the past is not throttled now."""
    assert conditions(machine(tmp_path, files)) == ()


# --- repetitions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_four_of_five_further_repetitions_fall_into_the_interval(n: int) -> None:
    """The 80% interval is honest however few the repetitions are, tried on numbers whose scatter is known."""
    draw = random.Random(n)
    hits = 0
    for _ in range(4000):
        found = spread([math.exp(draw.gauss(4, 0.05)) for _ in range(n)])
        hits += found.low <= math.exp(draw.gauss(4, 0.05)) <= found.high
    assert 0.78 < hits / 4000 < 0.86


def test_repetitions_that_agree_by_chance_do_not_promise_too_much() -> None:
    """Two equal repetitions still leave the difference between one start of the program and the next."""
    found = spread([100.0, 100.0])
    assert (found.low, found.high) == pytest.approx((100 * math.exp(-LEAST), 100 * math.exp(LEAST)))


def test_a_rate_that_falls_gets_an_interval_that_goes_on_falling() -> None:
    """A device that heats up will be slower in the next minute than in any yet."""
    found = spread([100, 99, 100, 91, 90, 91])
    assert found.drift == pytest.approx(-0.09, abs=0.01)
    assert found.low < 84


def test_a_virtual_machine_promises_less(tmp_path: Path) -> None:
    """Its host's other guests change its speed in spells longer than a test, unseen from inside."""
    guest = machine(tmp_path / "guest", {"/proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu hypervisor\n"})
    bare = machine(tmp_path / "bare", {"/proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu\n"})
    assert between_runs(guest) > between_runs(bare)
    assert "virtual machine" in " ".join(conditions(guest))
    verdict = judge("tg128", [Round((68, 67, 68), IDLE)], 2, least=between_runs(guest))
    assert verdict.high / verdict.value > 1.05
    assert verdict.reasons == ()


IDLE = Taken(seconds=1, cpus=2, others=0.02, steal=0)
BUSY = Taken(seconds=1, cpus=2, others=1.0, steal=0)
SLIGHTLY_BUSY = Taken(seconds=1, cpus=2, others=0.2, steal=0)


def test_a_quiet_round_speaks_for_itself() -> None:
    """What was disturbed before it does not count."""
    verdict = judge("tg128", [Round((40, 20, 35), BUSY), Round((68, 67, 68), IDLE)], 2)
    assert verdict.value == 68
    assert verdict.samples == (68, 67, 68)
    assert verdict.reasons == ()


def test_a_busy_machine_is_refused_with_what_was_seen() -> None:
    """Half of the time of two threads was taken: 6.6 tokens/s is no property of this machine."""
    with pytest.raises(NoisyError, match=r"tg128 cannot be measured now: other programs took 1\.0 of 2 CPUs"):
        judge("tg128", [Round((6.6, 6.4, 6.7), BUSY)] * 3, 2)


def test_repetitions_that_differ_wildly_are_refused_whatever_the_cause() -> None:
    """A CPU that clocks up and down is seen in nothing but the scatter."""
    with pytest.raises(NoisyError, match="repetitions differ"):
        judge("tg128", [Round((60, 30, 90, 20, 70), IDLE)] * 3, 2)


def test_a_slight_disturbance_widens_the_interval_upwards_with_the_reason() -> None:
    """Left alone, the machine may be faster by what others took."""
    verdict = judge("tg128", [Round((68, 67, 68), SLIGHTLY_BUSY)] * 3, 2)
    alone = spread([68, 67, 68] * 3)
    assert verdict.high == pytest.approx(alone.high / 0.9)
    assert verdict.low == alone.low
    assert "other programs" in verdict.reasons[0]


def test_measuring_under_load_is_possible_when_asked_for() -> None:
    """The number then says what else was running."""
    verdict = judge("tg128", [Round((6.6, 6.4, 6.7), BUSY)], 2, strict=False)
    assert verdict.value == 6.6
    assert verdict.high > 13
    assert verdict.reasons


# --- the real thing -------------------------------------------------------------------------------------------


@pytest.fixture
def burners() -> Iterator[None]:
    """A busy loop for every CPU."""
    times = cpu_times(Machine())
    count = times.cpus if times else 2
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.mark.usefixtures("burners")
def test_busy_loops_on_all_cpus_are_noticed_and_named() -> None:
    """The gate is tried against real load: nothing is measured, and the culprits stand in the message."""
    local = Machine()
    times = cpu_times(local)
    assert times is not None
    with pytest.raises(NoisyError, match="too busy to measure") as refusal:
        wait_until_quiet(local, times.cpus, limit_s=0)
    assert "python" in str(refusal.value)
