"""Errors of the profiles package.

ProfilesError
├── UnknownDeviceError     no such device in the library, or several
├── InvalidDeviceError     a device file that cannot be understood
├── EngineError            the engine could not do what was asked         exit 2
│   ├── EngineAbsentError  llama-cpp-python is not installed              exit 5
│   └── EngineTimeoutError it took too long and was ended                 exit 4
├── EngineBuildError       the engine could not be built or installed     exit 5
│   └── EngineDownloadError its source could not be fetched               exit 6
├── NoisyError             the machine is too busy to measure it          exit 4
├── RemoteError            a target that cannot be reached, or not in time exit 6
│   ├── RemoteCommandError the command that leads there is none           exit 2
│   ├── RemoteMissingError that command is not installed here             exit 5
│   └── RemoteAnswerError  its answer is cut, too large or rubbish        exit 4
└── StoppedError           somebody ended the work from another thread
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from profiles.engine.protocol import EngineFailure


class ProfilesError(Exception):
    """Base of every error this package raises on purpose."""


class UnknownDeviceError(ProfilesError):
    """A name that is not in the library. `nearest` holds names to offer."""

    def __init__(self, message: str, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.nearest = nearest


class AmbiguousDeviceError(UnknownDeviceError):
    """A name that fits several devices whose speed differs. `nearest` holds them."""


class InvalidDeviceError(ProfilesError):
    """A device description with a wrong field or value; the message names both."""


class EngineError(ProfilesError):
    """An `EngineFailure` where a caller cannot go on without the answer; `failure` holds the engine's last words."""

    def __init__(self, message: str, failure: EngineFailure) -> None:
        super().__init__(message)
        self.failure = failure


class EngineAbsentError(EngineError):
    """llama-cpp-python is not installed; the message says how to install it."""


class EngineTimeoutError(EngineError):
    """The engine gave no answer in the time it was allowed, and was ended."""


class EngineBuildError(ProfilesError):
    """A build that failed: what happened, the compiler's words, what to do, and where the whole output is."""

    def __init__(
        self, message: str, log: str | None = None, words: tuple[str, ...] = (), advice: str | None = None
    ) -> None:
        super().__init__(with_output(message, log, words, advice))


class EngineDownloadError(EngineBuildError):
    """The source of the engine, or a tool to build it, could not be fetched."""


class NoisyError(ProfilesError):
    """Measuring now would give a number that means nothing; the message says what was seen and what to do."""


class RemoteError(ProfilesError):
    """A target that could not be asked: the message names the command and holds its last words."""


class RemoteCommandError(RemoteError):
    """The text given as the way to a target is no command, or something cannot be sent over it."""


class RemoteMissingError(RemoteError):
    """The program that leads to the target is not installed on this machine."""


class RemoteAnswerError(RemoteError):
    """The target answered, but in part, too much, or something else; nothing of it is used."""


class StoppedError(ProfilesError):
    """The work was ended by whoever asked for it; there is nothing to report."""


def with_output(
    message: str, log: str | None = None, words: tuple[str, ...] = (), advice: str | None = None
) -> str:
    """The message of a command that failed: its last words, what to do, and where its whole output is."""
    lines = [message, *(f"    {word}" for word in words)]
    lines += [f"  what to do: {advice}"] if advice else []
    lines += [f"  the whole output: {log}"] if log else []
    return "\n".join(lines)
