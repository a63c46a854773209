"""What the wizard knows at a time. Frozen: a screen that shows one of these shows one moment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:  # the first screen is painted before these are imported
    from advisor.candidates import Candidate
    from advisor.measured_speed import KnownSpeeds
    from advisor.need import Need
    from advisor.recommend import Recommendation
    from advisor.report.documents import DeploymentView, DeviceSummary
    from advisor.target import Target
    from advisor.workload import Workload
    from profiles.device import Device
    from quantize.manifest import Manifest


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A device. `given` is what named it, None for this machine, whose measurements are known too."""

    given: str | None
    device: Device
    known: KnownSpeeds | None = None

    @property
    def here(self) -> bool:
        """Whether it is the machine the wizard runs on, so that models can be tried on it."""
        return self.given is None


class Problem(msgspec.Struct, frozen=True):
    """Something that went wrong: what happened, and names to offer in place of one that is not known."""

    message: str
    nearest: tuple[str, ...] = ()


class Built(msgspec.Struct, frozen=True):
    """A finished build: its folder and what its manifest says."""

    folder: Path
    manifest: Manifest

    @property
    def file(self) -> Path:
        return self.folder / self.manifest.files[0].name


class RuledOut(msgspec.Struct, frozen=True):
    """A model that is not in the list, and the reasons in words."""

    model: str
    name: str
    reasons: tuple[str, ...]
    constraint: str


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: the rows in their order, what was ruled out, and what they were made from."""

    need: Need
    found: Found
    workload: Workload
    target: Target
    device: DeviceSummary
    result: Recommendation
    rows: tuple[DeploymentView, ...]
    ruled_out: tuple[RuledOut, ...]
    counts: dict[str, int]  # models that each constraint rules out
    notes: tuple[str, ...]

    @property
    def considered(self) -> int:
        return len(self.rows) + len(self.ruled_out)

    def candidate(self, model: str) -> Candidate | None:
        """The deployment of a model in the list."""
        return next((each for each in self.result.ranked if each.model.id == model), None)

    def row(self, model: str) -> DeploymentView | None:
        """The same, in numbers and words."""
        return next((row for row in self.rows if row.model == model), None)
