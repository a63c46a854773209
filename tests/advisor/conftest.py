"""Devices and workloads the decision is tried on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from advisor.catalog import Catalog, load_catalog
from advisor.cli.main import run
from advisor.target import Target, make_target
from advisor.workload import Workload, make_workload
from profiles.resolve import resolve_device

LAPTOP = {
    "name": "a plain laptop",
    "class": "laptop",
    "cpu": {"name": "AMD Ryzen 7 7840HS", "performance_cores": 8, "cores": 8, "threads": 16},
    "memory": {"total_bytes": 17_179_869_184, "bandwidth_bytes_per_s": 89_600_000_000},
}


@pytest.fixture(autouse=True, scope="session")
def own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was measured on the machine that runs the tests must not change them, nor they what is kept there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@functools.cache
def target_of(name: str, workload: Workload) -> Target:
    return make_target(resolve_device(LAPTOP if name == "laptop" else name), workload)


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process: exit code, stdout, stderr."""

    def invoke(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return invoke


Ask = Callable[..., tuple[Target, Workload]]


@pytest.fixture
def ask() -> Ask:
    """A device's name and what the user wants, as a target and a workload."""

    def question(device: str = "laptop", **need: Any) -> tuple[Target, Workload]:
        workload = make_workload(**need)
        return target_of(device, workload), workload

    return question
