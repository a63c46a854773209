"""What workers tell the program. A number says which question a message answers: older answers are dropped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from advisor.tui.state import Found, Problem, Ranking

if TYPE_CHECKING:
    from advisor.calibration_lab import Step
    from advisor.local_files import Shelf
    from advisor.report.bench_documents import BenchDocument
    from advisor.report.calibration import CalibrationDocument
    from advisor.trial import Trial
    from advisor.tui.work.building import Plan
    from advisor.tui.work.exporting import Pinned
    from advisor.tui.work.watching import Watching
    from profiles.conversation import Part
    from quantize.build_steps import Progress
    from quantize.manifest import Manifest


@dataclass
class DeviceFound(Message):
    found: Found


@dataclass
class DeviceFailed(Message):
    problem: Problem


@dataclass
class FilesListed(Message):
    """Which model files are on this machine."""

    shelf: Shelf


@dataclass
class Ranked(Message):
    ranking: Ranking


@dataclass
class RankingFailed(Message):
    problem: Problem


@dataclass
class CalibrationStep(Message):
    step: Step


@dataclass
class CalibrationDone(Message):
    document: CalibrationDocument


@dataclass
class CalibrationFailed(Message):
    problem: Problem | None  # None: it was stopped


@dataclass
class TrialProgress(Message):
    words: str


@dataclass
class TrialSample(Message):
    """One repetition's tokens per second; `test` says of what."""

    test: str
    tokens_per_s: float


@dataclass
class TrialDone(Message):
    trial: Trial
    bench: BenchDocument | None = None  # where the file itself was run


@dataclass
class TrialFailed(Message):
    problem: Problem | None  # None: it was stopped
    noisy: bool = False


@dataclass
class ChatReady(Message):
    description: str
    n_ctx: int
    notes: tuple[str, ...] = ()


@dataclass
class ChatPart(Message):
    part: Part


@dataclass
class ChatEnded(Message):
    """An answer is over; with a problem, the conversation too."""

    problem: Problem | None = None


@dataclass
class Watched(Message):
    reading: Watching


@dataclass
class BuildPlanned(Message):
    plan: Plan


@dataclass
class BuildProgress(Message):
    progress: Progress


@dataclass
class BuildDone(Message):
    folder: Path
    manifest: Manifest


@dataclass
class BuildFailed(Message):
    """Of planning or of building."""

    problem: Problem | None  # None: it was stopped


@dataclass
class DeploymentPinned(Message):
    pinned: Pinned


@dataclass
class PinningProgress(Message):
    words: str


@dataclass
class PinningFailed(Message):
    problem: Problem


@dataclass
class ExportsWritten(Message):
    """Where they are; with a problem, nothing was written."""

    paths: tuple[Path, ...]
    problem: Problem | None = None
    in_the_way: bool = False  # something that may be written over
