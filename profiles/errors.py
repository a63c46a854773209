"""Errors of the profiles package.

ProfilesError
├── UnknownDeviceError     no such device in the library, or several
└── InvalidDeviceError     a device file that cannot be understood
"""


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
