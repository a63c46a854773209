"""The size and the SHA-256 of a file on a target, by whatever program for it the target has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import msgspec

from profiles.errors import RemoteAnswerError, RemoteCommandError
from profiles.remote import Report, exchange

HASH_TIMEOUT_S = 1200.0  # 8 GB from a slow card at 20 MB/s take seven minutes

# Each reads the file as its standard input, so that no name is misunderstood. The first word of hexadecimal digits in
# what it prints is the sum.
_TOOLS = ("sha256sum", "toybox sha256sum", "busybox sha256sum", "shasum -a 256", "openssl dgst -sha256")
_SCRIPT = r"""
answer() {
  case $file in '~/'*) file=$HOME/${file#'~/'} ;; esac
  echo "path $file"
  if [ ! -e "$file" ]; then echo missing; return; fi
  if [ ! -f "$file" ]; then echo special; return; fi
  if [ ! -r "$file" ]; then echo denied; return; fi
  # GNU, busybox and toybox; then BSD and macOS; then by reading it
  size=$(stat -L -c %s "$file" 2>/dev/null || stat -L -f %z "$file" 2>/dev/null || wc -c <"$file")
  echo "size" $size
  [ -n "$hashed" ] || return 0
  for tool in TOOLS; do
    sum=$($tool <"$file" 2>/dev/null) || continue
    echo "sum $sum"
    echo "tool $tool"
    return 0
  done
  echo toolless
}
""".replace("TOOLS", " ".join(f"'{tool}'" for tool in _TOOLS))


class RemoteFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file on the target. `path` has its leading ~/ written out. `sha256` is None where nothing there can tell."""

    path: str
    size_bytes: int
    sha256: str | None = None  # 64 lower-case hexadecimal digits
    tool: str | None = None  # the program that made it


def remote_file(
    prefix: Sequence[str],
    path: str,
    *,
    hashed: bool = True,
    timeout_s: float = HASH_TIMEOUT_S,
    report: Report | None = None,
) -> RemoteFile:
    """Size and SHA-256 of a file there; `path` may begin with ~/ for the home folder there.

    hashed: also read all of it for the SHA-256; without it the answer comes at once.
    Raises RemoteCommandError where there is no such file or it may not be read, and what `run_remote` raises.
    """
    if not path or "\0" in path or "\n" in path:
        raise RemoteCommandError(f"'{path}' cannot be the name of a file on the target")
    script = f"file={shlex.quote(path)}\nhashed={'yes' if hashed else ''}\n{_SCRIPT}"
    result = exchange(prefix, script, timeout_s=timeout_s, limit_bytes=1 << 16, report=report)
    lines = result.stdout.decode("utf-8", "surrogateescape").replace("\r\n", "\n").splitlines()
    place = f"'{path}' on the target of '{shlex.join(prefix)}'"
    for word, what in _REFUSALS.items():
        if word in lines:
            raise RemoteCommandError(f"{place} {what}")
    answer = {key: rest for key, _, rest in (line.partition(" ") for line in lines)}
    sum_ = re.search(r"\b[0-9a-fA-F]{64}\b", answer.get("sum", ""))
    if not re.fullmatch(r"\d{1,18}", answer.get("size", "")) or not (
        sum_ or not hashed or "toolless" in answer
    ):
        raise RemoteAnswerError(f"the target's answer about {place} cannot be understood: {lines[:5]}")
    return RemoteFile(
        path=answer.get("path", path),
        size_bytes=int(answer["size"]),
        sha256=sum_[0].lower() if sum_ else None,
        tool=answer.get("tool") if sum_ else None,
    )


_REFUSALS = {
    "missing": "does not exist, or a folder on the way may not be entered: check the path there",
    "special": "is not a file",
    "denied": "may not be read by the user there: change its permissions",
}
