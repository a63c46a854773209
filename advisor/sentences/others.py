"""What the operating system and msgspec say, as it stands in our messages."""

from __future__ import annotations

from advisor.language import marked

SENTENCES = (
    marked("No such file or directory"),
    marked("Permission denied"),
    marked("Operation not permitted"),
    marked("Is a directory"),
    marked("Not a directory"),
    marked("File exists"),
    marked("File name too long"),
    marked("Too many levels of symbolic links"),
    marked("Read-only file system"),
    marked("No space left on device"),
    marked("Disk quota exceeded"),
    marked("File too large"),
    marked("Input/output error"),
    marked("Cannot allocate memory"),
    marked("Too many open files"),
    marked("Device or resource busy"),
    marked("Connection refused"),
    marked("Connection reset by peer"),
    marked("Connection timed out"),
    marked("Network is unreachable"),
    marked("Temporary failure in name resolution"),
    marked("Name or service not known"),
    marked("expected {wanted}, got {found}"),
    marked("an object"),
    marked("an object missing required field {field}"),
    marked("Input data was truncated"),
    marked("JSON is malformed: {what} (byte {place})"),
    marked("invalid character"),
    marked("trailing characters"),
    marked("trailing comma in object"),
    marked("trailing comma in array"),
    marked("object keys must be strings"),
    marked("expected ':'"),
    marked("[Errno {number}] {words}"),
)
