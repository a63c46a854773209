"""What workers tell the program. A number says which question a message answers: older answers are dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

from advisor.tui.state import Found, Problem, Ranking

if TYPE_CHECKING:
    from advisor.calibration_lab import Step
    from advisor.report.calibration import CalibrationDocument


@dataclass
class DeviceFound(Message):
    found: Found


@dataclass
class DeviceFailed(Message):
    problem: Problem


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
