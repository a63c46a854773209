"""Errors of the quantize package.

QuantizeError
├── UnknownArchitectureError   an architecture whose tensors are not known here
├── InvalidModelError          a GGUF header or config.json that cannot be trusted
├── UnknownPresetError         a quantization that the engine does not offer
├── ImatrixError               an importance matrix that cannot be read or made
├── QuantizationError          a recipe that the engine, or common sense, refuses
├── UnexpectedTensorsError     a model file whose tensors are not what they must be   exit 3
├── OccupiedError              the build's folder exists, or another build is at it
├── NotComparableError         two files whose predictions cannot be held against each other
├── TooLittleMemoryError       the step needs more memory than there is
├── NoRoomError                a disk that has no room for a file
└── EngineMissingError         llama-cpp-python is not installed
"""


class QuantizeError(Exception):
    """Base of every error this package raises on purpose."""


class UnknownArchitectureError(QuantizeError):
    """An architecture whose tensors are not known here: refused, never approximated."""


class InvalidModelError(QuantizeError):
    """A model file that is damaged, lies about its contents or lacks what is needed."""


class UnknownPresetError(QuantizeError):
    """A name that is no quantization preset. `nearest` holds names to offer."""

    def __init__(self, message: str, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.nearest = nearest


class ImatrixError(QuantizeError):
    """An importance matrix that cannot be read, or none could be collected; the message says why."""


class QuantizationError(QuantizeError):
    """A recipe that cannot be followed, in the engine's words where it said why."""


class UnexpectedTensorsError(QuantizeError):
    """A model file whose tensors differ from those it must have; the message names some."""


class OccupiedError(QuantizeError):
    """The place of a build is taken, by something that is there or by another build under way."""


class NotComparableError(QuantizeError):
    """Two model files, or a text, whose predictions cannot be compared; the message says why."""


class TooLittleMemoryError(QuantizeError):
    """The step needs more memory than there is now; the message gives both amounts."""


class NoRoomError(QuantizeError):
    """A disk without room for what is to be written; the message says how much is needed and where."""


class EngineMissingError(QuantizeError):
    """The step needs llama-cpp-python; the message says how to install it."""
