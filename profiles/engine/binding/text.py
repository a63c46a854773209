"""What reads a text between two requests: a calibration or a comparison, one at a time.

Its modules need numpy, which llama-cpp-python brings; they are imported with the first such request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from profiles.engine.binding.log import RefusedError
from profiles.engine.protocol import (
    CalibrateChunk,
    CompareChunk,
    OpenCalibration,
    OpenComparison,
    Reply,
    TakeImatrix,
)

if TYPE_CHECKING:
    from profiles.engine.binding.compare import Comparison
    from profiles.engine.binding.imatrix import Calibration

TextRequest = OpenCalibration | CalibrateChunk | TakeImatrix | OpenComparison | CompareChunk


class Texts:
    def __init__(self) -> None:
        self._reading: Calibration | Comparison | None = None

    def answer(self, request: TextRequest) -> Reply:
        """Raises RefusedError."""
        match request:
            case OpenCalibration():
                from profiles.engine.binding.imatrix import Calibration

                self._close()
                self._reading = calibration = Calibration(request)
                return calibration.opened()
            case CalibrateChunk():
                return self._calibration().read(request.chunk)
            case TakeImatrix():
                taken = self._calibration().take()
                self._close()
                return taken
            case OpenComparison():
                from profiles.engine.binding.compare import Comparison

                self._close()
                self._reading = comparison = Comparison(request)
                return comparison.opened()
            case CompareChunk():
                return self._comparison().compare(request.chunk)

    def _calibration(self) -> Calibration:
        from profiles.engine.binding.imatrix import Calibration

        if not isinstance(self._reading, Calibration):
            raise RefusedError("no calibration is open: open one before reading a chunk")
        return self._reading

    def _comparison(self) -> Comparison:
        from profiles.engine.binding.compare import Comparison

        if not isinstance(self._reading, Comparison):
            raise RefusedError("no comparison is open: open one before comparing a chunk")
        return self._reading

    def _close(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None
