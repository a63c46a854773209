"""Errors of the quantize package.

    QuantizeError
    ├── UnknownArchitectureError   an architecture whose tensors are not known here
    ├── InvalidModelError          a GGUF header or config.json that cannot be trusted
    └── EngineMissingError         llama-cpp-python is not installed
"""


class QuantizeError(Exception):
    """Base of every error this package raises on purpose."""


class UnknownArchitectureError(QuantizeError):
    """An architecture whose tensors are not known here: refused, never approximated."""


class InvalidModelError(QuantizeError):
    """A model file that is damaged, lies about its contents or lacks what is needed."""


class EngineMissingError(QuantizeError):
    """The step needs llama-cpp-python; the message says how to install it."""
