"""`make bench`: start-up times, peak memory and the rates of batches and fleets, against their budgets.

Each command runs as a fresh process, in turns with the others so that a slow spell of the machine hits all of
them; medians are printed. Nothing is asserted: a benchmark on a shared machine is no test.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from profiles.library import load_library

ROUNDS = 7
BATCH_ROWS = 100_000

COMMANDS: tuple[tuple[tuple[str, ...], float, float | None], ...] = (
    # arguments, budget in seconds, budget in megabytes
    (("--help",), 0.15, None),
    (("profile", "--json"), 0.4, None),
    (("recommend", "--json"), 0.5, 100.0),
    (("recommend", "--device", "Raspberry Pi 5", "--json"), 0.5, 100.0),
)


def main() -> None:
    program = shutil.which("slm-advisor", path=str(Path(sys.executable).parent)) or "slm-advisor"
    times: dict[tuple[str, ...], list[float]] = {arguments: [] for arguments, _, _ in COMMANDS}
    peaks: dict[tuple[str, ...], list[float]] = {arguments: [] for arguments, _, _ in COMMANDS}
    for _ in range(ROUNDS + 1):
        for arguments, _, _ in COMMANDS:
            elapsed, peak = run_once([program, *arguments])
            times[arguments].append(elapsed)
            peaks[arguments].append(peak)
    print(f"median (min to max) of {ROUNDS} runs after one warm-up, {os.cpu_count()} CPUs")
    for arguments, seconds, megabytes in COMMANDS:
        wall, peak = times[arguments][1:], statistics.median(peaks[arguments][1:])
        allowed = f", {megabytes:.0f} MB" if megabytes else ""
        print(
            f"  {' '.join(arguments):<46}{statistics.median(wall):6.3f} s ({min(wall):.3f} to {max(wall):.3f})"
            f"  {peak:5.1f} MB   budget {seconds} s{allowed}"
        )
    rows = f"estimate --batch, {BATCH_ROWS} rows"
    print(f"  {rows:<46}{batch_rate(program):6.0f} rows/s   budget 20000 rows/s")
    count, minutes = fleet_minutes(program)
    fleet = f"recommend --devices, {count} different devices"
    print(f"  {fleet:<46}{count / minutes:6.0f} devices/min   budget 2000 devices/min")


def run_once(command: list[str]) -> tuple[float, float]:
    """Wall time in seconds and peak resident memory in MB of one run."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - start
    scale = 1e6 if sys.platform == "darwin" else 1e3
    return elapsed, usage.ru_maxrss / scale


def batch_rate(program: str) -> float:
    """Rows a second over devices x models x quantizations, start-up included."""
    devices = ("Raspberry Pi 5", "NVIDIA GeForce RTX 4090", "Apple M2 Pro", "Pixel 9", "AMD Ryzen 9 7950X")
    models = ("Qwen2.5-1.5B-Instruct", "Llama-3.1-8B-Instruct", "gemma-3-4b-it", "Phi-4-mini-instruct")
    quants = ("Q4_K_M", "Q8_0", "IQ4_XS", "Q4_0", "Q6_K")
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows.jsonl")
        with rows.open("w") as file:
            for number in range(BATCH_ROWS):
                row = {
                    "id": number,
                    "device": devices[number % len(devices)],
                    "model": models[number // 5 % len(models)],
                    "quant": quants[number // 20 % len(quants)],
                    "context_length": 2048 + 512 * (number // 100 % 40),
                    "n_prompt": 128 + number % 1000,
                    "n_gen": 128,
                    "depth": number % 4096,
                }
                file.write(json.dumps(row) + "\n")
        elapsed, _ = run_once([program, "estimate", "--batch", str(rows)])
    return BATCH_ROWS / elapsed


def fleet_minutes(program: str) -> tuple[int, float]:
    """How many devices of the library were answered and compared, and in how many minutes, start-up included."""
    names = [entry.name for entry in load_library().entries]
    with tempfile.TemporaryDirectory() as folder:
        fleet = Path(folder, "fleet.jsonl")
        fleet.write_text("".join(json.dumps(name) + "\n" for name in names))
        elapsed, _ = run_once([program, "recommend", "--devices", str(fleet), "--task", "chat", "--json"])
    return len(names), elapsed / 60


if __name__ == "__main__":
    main()
