"""Errors of the quantize package.

QuantizeError
├── UnknownArchitectureError   an architecture whose tensors are not known here
├── InvalidModelError          a GGUF header or config.json that cannot be trusted
├── UnknownPresetError         a quantization that the engine does not offer
├── ImatrixError               an importance matrix that cannot be read or made
├── NotComparableError         two files whose predictions cannot be held against each other
├── TooLittleMemoryError       the step needs more memory than there is
├── ConversionError            safetensors that cannot be converted, or a result that is not what it must be
├── ConverterInstallError      the converter's environment could not be made     exit 5
│   └── ConverterDownloadError what it consists of could not be fetched          exit 6
├── ConverterMissingError      the converter's environment is not installed      exit 5
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
        lines = [message, *(f"    {word}" for word in words)]
        lines += [f"  what to do: {advice}"] if advice else []
        lines += [f"  the whole output: {log}"] if log else []
        super().__init__("\n".join(lines))


class ConverterDownloadError(ConverterInstallError):
    """Part of the converter's environment could not be fetched."""


class ConverterMissingError(QuantizeError):
    """The step needs the converter's environment; the message names the command that installs it."""


class NoRoomError(QuantizeError):
    """A disk without room for what is to be written; the message says how much is needed and where."""


class EngineMissingError(QuantizeError):
    """The step needs llama-cpp-python; the message says how to install it."""
