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
├── ConversionError            safetensors that cannot be converted, or a result that is not what it must be
├── ConverterInstallError      the converter's environment could not be made     exit 5
│   └── ConverterDownloadError what it consists of could not be fetched          exit 6
├── ConverterMissingError      the converter's environment is not installed      exit 5
├── NoRoomError                a disk that has no room for a file
├── GptqError                  weights that GPTQ cannot take, or a checkpoint that is not what it must be
│   └── GptqWorkerError        the process with torch in it broke down
├── GptqMissingError           GPTQModel is not installed                        exit 5
├── SourceError                weights that cannot be used as the source of a build   exit 2
│   ├── SourceNotFoundError    nothing to build from, here or on the Hub              exit 2
│   └── GatedError             a licence to accept, or a token that is not let in     exit 2
└── HubError                   the Hub did not answer, or not as it should            exit 6
    ├── HubOfflineError        offline, and what is needed is not in the cache        exit 6
    └── WrongContentError      what came is not what the Hub had announced            exit 6
"""

from __future__ import annotations

from profiles.errors import with_output


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


class ConversionError(QuantizeError):
    """A model folder that cannot be converted, or a result that lacks something; the message says what to do."""


class ConverterInstallError(QuantizeError):
    """What happened, pip's words, what to do, and where the whole output is."""

    def __init__(
        self, message: str, log: str | None = None, words: tuple[str, ...] = (), advice: str | None = None
    ) -> None:
        super().__init__(with_output(message, log, words, advice))


class ConverterDownloadError(ConverterInstallError):
    """Part of the converter's environment could not be fetched."""


class ConverterMissingError(QuantizeError):
    """The step needs the converter's environment; the message names the command that installs it."""


class NoRoomError(QuantizeError):
    """A disk without room for what is to be written; the message says how much is needed and where."""


class GptqError(QuantizeError):
    """Weights that GPTQ cannot take, or a checkpoint that is not what it must be; the message says why."""


class GptqWorkerError(GptqError):
    """The process with torch in it broke down. `words` holds the end of what it said."""

    def __init__(self, message: str, words: str = "") -> None:
        super().__init__(message)
        self.words = words


class GptqMissingError(QuantizeError):
    """The step needs GPTQModel; the message says how to install it."""


class SourceError(QuantizeError):
    """Weights that cannot be the source of a build; the message says which, why, and what would do."""


class SourceNotFoundError(SourceError):
    """No weights to build from; the message says where was looked and what was there."""


class GatedError(SourceError):
    """A repository whose licence must be accepted first; the message says where, and how to show who one is."""


class HubError(QuantizeError):
    """The Hub did not answer, or not as it should; the message says how much is already there."""


class HubOfflineError(HubError):
    """The network must not be used, and what is needed is not in the Hub's cache."""


class WrongContentError(HubError):
    """A downloaded file whose hash or size is not what the Hub had announced; it has been removed."""
