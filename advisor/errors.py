"""Errors of the advisor package.

AdvisorError
├── InvalidInputError      a value the user gave is not allowed            exit 2
│   └── UnknownModelError  no such model or quantization in the catalog    exit 2
├── NothingFitsError       no deployment satisfies the constraints         exit 3
├── NotEnoughEvidenceError the question cannot be answered from what is known  exit 4
├── ComponentMissingError  an optional part is not installed               exit 5
└── ClusterError           a Ray cluster that cannot be reached, or is lost exit 6
"""


class AdvisorError(Exception):
    """Base of every error this package raises on purpose."""


class InvalidInputError(AdvisorError):
    """A value that is not allowed; the message gives the value and what is allowed."""


class UnknownModelError(InvalidInputError):
    """A model or quantization the catalog does not have. `nearest` holds names to offer."""

    def __init__(self, message: str, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.nearest = nearest


class NothingFitsError(AdvisorError):
    """Nothing satisfies the constraints; the message says what came nearest."""


class NotEnoughEvidenceError(AdvisorError):
    """What is known does not suffice for an answer; the message says what is missing."""


class ComponentMissingError(AdvisorError):
    """An optional component is missing; the message says how to install it."""


class ClusterError(AdvisorError):
    """A cluster that does not answer, or no longer; the message names it and says how far the work had come."""
