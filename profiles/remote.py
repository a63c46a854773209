"""Programs on a target that is not this machine, over any command that gives a shell there.

The prefix is what a user would type before a command for the target: `ssh host`, `adb shell`, `docker exec -i box`.
Some of these hand their arguments to a second shell and some do not, so no argument of ours is ever among them: what
is started is always `PREFIX sh -s`, and a script goes over standard input. Arguments are quoted inside that script,
for the shell of the target. The prefix itself is started without a shell of this machine.

What comes back is not trusted. It counts only between a first and a last line that carry a number made for this one
run, so that greetings and start-up files of a shell do no harm; its size and its time are bounded; and without the
last line there is no answer, whatever the exit code says.
"""

from __future__ import annotations

import re
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import PurePath

import msgspec

from profiles.child import end_group
from profiles.errors import (
    RemoteAnswerError,
    RemoteCommandError,
    RemoteError,
    RemoteMissingError,
    with_output,
)
from profiles.offline import no_network
from profiles.pipes import Pipes

TIMEOUT_S = 60.0
LIMIT_BYTES = 8 << 20
NOISE_LIMIT_BYTES = 1 << 18  # before the first mark; a long greeting is some kilobytes
_QUIET_S = 5.0  # between two reports
_LEAVE_S = 2.0  # for the command to end once the last line has come
_GRACE_S = 5.0  # after `timeout` on the target should have ended a program
_TIMED_OUT = 124  # exit code of `timeout`
_WORDS_SHOWN = 6
# Commands that give what they start an empty standard input unless they are told otherwise.
_NEED_INPUT = ("docker", "podman", "nerdctl", "kubectl")

Report = Callable[[str], None]


class RemoteResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a program on the target left; `exit_code` may be any, 126 or 127 where it could not be started."""

    exit_code: int
    stdout: bytes
    stderr_tail: str  # the last 16 KiB, with what the prefix's own program said


def split_prefix(text: str) -> tuple[str, ...]:
    """The words of a command that leads to a target: `ssh -p 2222 host`.

    `docker exec` and its like get the -i without which they would not pass the script on.
    Raises RemoteCommandError for text that is no command.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        raise RemoteCommandError(f"'{text}' has a quotation mark that is not closed") from None
    if not words or "\0" in text:
        raise RemoteCommandError("the command that leads to the target is empty; give one such as 'ssh host'")
    if sys.platform == "win32":
        raise RemoteCommandError("targets are reached from Linux and macOS only; run slm-advisor in WSL")
    if PurePath(words[0]).name in _NEED_INPUT and "exec" in words:
        at = words.index("exec") + 1
        given = ("--interactive", "--stdin")
        if not any(word in given or re.fullmatch(r"-[a-z]*i[a-z]*", word) for word in words[at:]):
            words.insert(at, "-i")
    return tuple(words)


def run_remote(
    prefix: Sequence[str],
    argv: Sequence[str],
    *,
    timeout_s: float = TIMEOUT_S,
    limit_bytes: int = LIMIT_BYTES,
    report: Report | None = None,
) -> RemoteResult:
    """Run a program on the target, without input, and return what it printed and its exit code.

    prefix: from `split_prefix`. argv: the program and its arguments; no shell interprets any of them.
    timeout_s: bound of the run in seconds; where the target has `timeout`, the program is ended there too.
    limit_bytes: bound of its standard output. report: gets a line every five seconds.
    Raises RemoteCommandError (a NUL in an argument), RemoteMissingError (the prefix's program is not installed
    here), RemoteError (the target cannot be reached, or gave no answer in time) and RemoteAnswerError (an answer
    that is cut or larger than the limit).
    """
    if not argv or any("\0" in word for word in argv):
        raise RemoteCommandError("an argument for the target is missing, or holds a NUL character")
    started = time.monotonic()
    body = (
        "limit=\n"
        f'timeout 5 true </dev/null >/dev/null 2>&1 && limit="timeout {max(1, round(timeout_s))}"\n'
        f"answer() {{ $limit {shlex.join(argv)}; }}\n"
    )
    result = exchange(prefix, body, timeout_s=timeout_s + _GRACE_S, limit_bytes=limit_bytes, report=report)
    if result.exit_code == _TIMED_OUT and time.monotonic() - started >= timeout_s - 1:
        raise RemoteError(
            with_output(
                f"'{argv[0]}' did not end within {timeout_s:g} s on the target of '{shlex.join(prefix)}'",
                words=_last_lines(result.stderr_tail),
                advice="try a smaller test, or look at what keeps the target busy",
            )
        )
    return result


def exchange(
    prefix: Sequence[str],
    script: str,
    *,
    timeout_s: float = TIMEOUT_S,
    limit_bytes: int = LIMIT_BYTES,
    report: Report | None = None,
) -> RemoteResult:
    """Run the function `answer` that a POSIX shell script of ours defines; its output is the result.

    Nothing in `script` may run before `answer` is called: a script that arrives in part must do nothing.
    Raises what `run_remote` raises.
    """
    forbidden = no_network(f"asking '{shlex.join(prefix)}'")
    if forbidden is not None:
        raise RemoteError(forbidden)
    nonce = secrets.token_hex(16)
    # The marks are put together on the target: a terminal that echoes the script shows no line like them.
    whole = (
        f"mark='slm-advisor {nonce}'\n{script}\n"
        'main() { echo; echo "$mark begin"; answer </dev/null; code=$?; echo; echo "$mark end $code"; }\n'
        "main; exit\n"
    )
    command = shlex.join(prefix)
    first = re.compile(rb"(?:^|\n)slm-advisor " + nonce.encode() + rb" begin\r?\n")
    last = re.compile(rb"\r?\nslm-advisor " + nonce.encode() + rb" end (\d{1,3})\r?\n")
    try:
        process = subprocess.Popen(
            [*prefix, "sh", "-s"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # no terminal: a question for a password fails and does not wait
        )
    except FileNotFoundError:
        raise RemoteMissingError(
            f"'{prefix[0]}' is not installed here, or not on the PATH: install it, or give its whole path"
        ) from None
    except OSError as error:
        raise RemoteMissingError(f"'{prefix[0]}' cannot be started: {error.strerror}") from None
    began = time.monotonic()
    reported = began
    start: int | None = None
    try:
        with Pipes(process, whole.encode("utf-8", "surrogateescape")) as pipes:
            while True:
                more = pipes.wait(0.2)
                received = pipes.output
                if start is None:
                    match = first.search(received[: NOISE_LIMIT_BYTES + 100])
                    start = match.end() if match else None
                    if start is None and len(received) > NOISE_LIMIT_BYTES:
                        raise _rubbish(command, received)
                if start is not None:
                    # The last line begins where the body ends, so an empty body shares its line feed with the first.
                    ending = last.search(received, max(start - 2, len(received) - pipes.newest - 80))
                    if ending:
                        with suppress(subprocess.TimeoutExpired):
                            process.wait(_LEAVE_S)
                        pipes.drain_errors()
                        body = bytes(received[start : max(start, ending.start())])
                        _check_size(len(body), limit_bytes, command)
                        return RemoteResult(
                            exit_code=int(ending[1]), stdout=body, stderr_tail=pipes.errors_tail()
                        )
                    _check_size(len(received) - start, limit_bytes, command)
                now = time.monotonic()
                if not more:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_LEAVE_S)
                    pipes.drain_errors()
                    raise _ended(command, process.poll(), start, received, pipes.errors_tail())
                if now - began > timeout_s:
                    raise _late(command, timeout_s, start, received, pipes.errors_tail())
                if report is not None and now - reported > _QUIET_S:
                    reported = now
                    report(f"waiting for '{command}': {now - began:.0f} s of at most {timeout_s:.0f}")
    finally:
        if process.poll() is None:
            end_group(process)


def _check_size(size: int, limit_bytes: int, command: str) -> None:
    if size > limit_bytes + 1024:
        raise RemoteAnswerError(
            f"the answer of '{command}' is larger than {limit_bytes} bytes and was not read further: "
            "is something else than the target's shell talking there?"
        )


def _rubbish(command: str, received: bytes | bytearray) -> RemoteAnswerError:
    return RemoteAnswerError(
        with_output(
            f"'{command}' printed {NOISE_LIMIT_BYTES >> 10} KiB of something else and no answer",
            words=_last_lines(_text(received[:2000])),
            advice=f"see what '{command} true' prints; it should print nothing",
        )
    )


def _ended(
    command: str, code: int | None, start: int | None, received: bytes | bytearray, errors: str
) -> RemoteError:
    """The error for a command that is over and has left no whole answer."""
    if start is not None:
        return RemoteAnswerError(
            with_output(
                f"the answer of '{command}' was cut after {len(received) - start} bytes (exit code {code})",
                words=_last_lines(errors),
                advice="try again; a part of an answer is not used",
            )
        )
    words = _last_lines(errors) or _last_lines(_text(received[-2000:]))
    if code:
        return RemoteError(
            with_output(
                f"'{command}' ended with exit code {code} and no answer from the target",
                words=words,
                advice=f"run '{command} true' by hand: it must succeed without asking for anything",
            )
        )
    return RemoteAnswerError(
        with_output(
            f"'{command}' ended without an answer: no shell on the target read the script",
            words=words,
            advice=f"see that '{command} sh -s' passes its standard input on, and that the target has sh",
        )
    )


def _late(
    command: str, timeout_s: float, start: int | None, received: bytes | bytearray, errors: str
) -> RemoteError:
    got = "nothing" if start is None else f"{len(received) - start} bytes and no end"
    return RemoteError(
        with_output(
            f"'{command}' gave no whole answer within {timeout_s:g} s ({got} so far)",
            words=_last_lines(errors),
            advice=f"run '{command} true' by hand: it must succeed at once, without asking for anything",
        )
    )


def _last_lines(text: str) -> tuple[str, ...]:
    lines = [line.strip()[:200] for line in text.splitlines()]
    return tuple(line for line in lines if line)[-_WORDS_SHOWN:]


def _text(content: bytes | bytearray) -> str:
    return content.decode("utf-8", "replace")
