"""Ask the Hub: what is in a repository, what a file must hash to, and its bytes from some place on.

huggingface_hub lends its session (proxies, certificates) and its token (environment, log-in, CI); the answers are
parsed here, since they come from outside: through HF_ENDPOINT from anybody. Every failure becomes an error of
`quantize.errors` or, where another try may help, a `TransientError` that `persist` handles.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urljoin

import msgspec

from profiles.offline import FORBIDDEN
from quantize.errors import GatedError, HubError, HubOfflineError, SourceError, SourceNotFoundError
from quantize.sources.listing import Listing, parse_listing
from quantize.sources.names import is_commit, is_sha256
from quantize.sources.settings import HubSettings, Patience
from quantize.sources.source import SourceFile

T = TypeVar("T")
_MAX_ANSWER_BYTES = 64_000_000
_MAX_REDIRECTS = 10
# For facts: somebody sits in front of a plan, and sees nothing while it waits.
_TRIES_TO_ASK, _WAIT_TO_ASK_S = 3, 30.0


class TransientError(Exception):
    """Something that may go away by itself. `wait_s` is what the Hub asks for."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Hub:
    """The Hub at one address. Nothing is asked before the first method is called."""

    def __init__(self, settings: HubSettings, patience: Patience) -> None:
        self.settings = settings
        self.patience = patience
        self._short_patience = msgspec.structs.replace(
            patience,
            tries=min(patience.tries, _TRIES_TO_ASK),
            longest_wait_s=min(patience.longest_wait_s, _WAIT_TO_ASK_S),
        )
        self._token: str | None = None
        self._token_read = False

    def listing(self, repository: str, revision: str) -> Listing:
        """The files of `repository` at a branch, tag or commit, with sizes and hashes.

        Raises SourceNotFoundError, GatedError, SourceError for a token that is refused, and HubError.
        """
        url = (
            f"{self.settings.endpoint}/api/models/{repository}/revision/{quote(revision, safe='')}?blobs=true"
        )

        def ask() -> bytes:
            with self._request("GET", url, {}) as response:
                self.refuse(response, repository)
                return _body(response)

        about = self._about(repository)
        listing = parse_listing(persist(self._short_patience, ask, about), about)
        if is_commit(revision) and listing.commit != revision:
            raise HubError(f"{about} answered with another commit than {revision}")
        return listing

    def facts(self, repository: str, commit: str, name: str) -> SourceFile:
        """Size and hash of one file, from the headers it is served with; also finds out whether it may be had."""

        def ask() -> SourceFile:
            headers = self._head(repository, commit, name)
            etag = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"')
            size = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
            if not (is_sha256(etag) or is_commit(etag)) or not re.fullmatch(r"\d{1,14}", size):
                raise HubError(
                    f"{self._about(repository)} does not say the size and hash of {name}, so that it could not "
                    "be checked: use another HF_ENDPOINT"
                )
            sha256 = etag if is_sha256(etag) else None
            return SourceFile(name=name, bytes=int(size), sha256=sha256, git_oid=None if sha256 else etag)

        return persist(self._short_patience, ask, self._about(repository))

    def _head(self, repository: str, commit: str, name: str) -> Any:
        """The headers that describe a file: before the redirect to where large files are, after any other."""
        url = self.url(repository, commit, name)
        for _ in range(_MAX_REDIRECTS):
            with self._request("HEAD", url, {}, follow_redirects=False) as response:
                if not response.is_redirect:
                    self.refuse(response, repository, name)
                    return response.headers
                target = response.headers.get("Location", "")
                if "X-Linked-Etag" in response.headers or not target.startswith("/"):
                    return response.headers
                url = urljoin(url, target)
        raise HubError(f"{self._about(repository)} sends from one address to the next without an end")

    @contextmanager
    def bytes_of(self, repository: str, commit: str, name: str, start: int) -> Iterator[Any]:
        """The response with the bytes of a file from `start` on; its status is not looked at."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._request("GET", self.url(repository, commit, name), headers) as response:
            yield response

    def url(self, repository: str, commit: str, name: str) -> str:
        """Where a file is served."""
        return f"{self.settings.endpoint}/{repository}/resolve/{commit}/{quote(name)}"

    def refuse(self, response: Any, repository: str, name: str | None = None) -> None:
        """Raise what the status of `response` means, unless it is a success."""
        status = response.status_code
        if status // 100 == 2:
            return
        code = response.headers.get("X-Error-Code", "")
        what = f"{name} of {repository}" if name else repository
        where = self.settings.shown_endpoint
        if status in (408, 429, 500, 502, 503, 504):
            raise TransientError(
                _STATUS.get(status, f"the server answered {status}"), _asked_wait(response.headers)
            )
        if code == "GatedRepo":
            raise self._gated(repository)
        if code == "RevisionNotFound":
            raise SourceNotFoundError(f"{repository} has no such revision")
        if code == "EntryNotFound":
            raise SourceNotFoundError(f"{repository} has no file {name}")
        if status == 401 and self._read_token() is not None and code != "RepoNotFound":
            raise SourceError(
                f"{where} does not accept the token (it may be mistyped or expired): "
                "set HF_TOKEN, or log in again with 'hf auth login'"
            )
        if status in (401, 404):
            hint = (
                ""
                if self._read_token()
                else ", or it is private: log in with 'hf auth login' or set HF_TOKEN"
            )
            raise SourceNotFoundError(f"{where} has no {what}{hint}")
        if status == 403:
            raise SourceError(f"{where} does not let this token read {what}: it needs read access to it")
        raise HubError(f"{where} answered {status} for {what}")

    def _gated(self, repository: str) -> GatedError:
        page = f"{self.settings.shown_endpoint}/{repository}"
        if self._read_token() is None:
            return GatedError(
                f"{repository} is gated: accept its licence at {page}, "
                "then log in with 'hf auth login' or set HF_TOKEN"
            )
        return GatedError(
            f"{repository} is gated and this token's account has no access to it yet: accept its licence at "
            f"{page} with the same account (some are granted by hand; a fine-grained token must include "
            "gated repositories)"
        )

    @contextmanager
    def _request(
        self, method: str, url: str, headers: dict[str, str], *, follow_redirects: bool = True
    ) -> Iterator[Any]:
        """One request; what goes wrong with the connection, also while the answer is read, is transient."""
        import huggingface_hub
        from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled
        from huggingface_hub.utils import get_session

        sent = {
            "User-Agent": f"slm-advisor; hf_hub/{huggingface_hub.__version__}",
            "Accept-Encoding": "identity",
            **headers,
        }
        token = self._read_token()
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        try:
            with get_session().stream(
                method, url, headers=sent, follow_redirects=follow_redirects, timeout=self.settings.timeout_s
            ) as response:
                yield response
        except OfflineModeIsEnabled as error:
            raise HubOfflineError(f"asking the Hub needs the network, which {FORBIDDEN}") from error
        except HTTPError as error:
            raise TransientError(f"the connection failed ({self._scrubbed(error)})") from None

    def _scrubbed(self, error: Exception) -> str:
        text = re.sub(r"https?://\S+", "an address", str(error) or type(error).__name__)
        token = self._read_token()
        return text.replace(token, "...")[:200] if token else text[:200]

    def _read_token(self) -> str | None:
        if not self._token_read:
            from huggingface_hub import get_token

            try:
                token = get_token() if self.settings.use_token else None
            except Exception as error:  # a log-in that is renewed over the network can fail in many ways
                raise SourceError(
                    f"the token for the Hub cannot be had ({type(error).__name__}): set HF_TOKEN, or log in again "
                    "with 'hf auth login'"
                ) from error
            if token is not None and not re.fullmatch(r"[!-~]+", token):
                raise SourceError(
                    "the token for the Hub has characters that no token has: set HF_TOKEN again"
                )
            self._token, self._token_read = token, True
        return self._token

    def _about(self, repository: str) -> str:
        return f"{repository} at {self.settings.shown_endpoint}"


def persist(
    patience: Patience,
    attempt: Callable[[], T],
    about: str,
    *,
    progress: Callable[[], int] = lambda: 0,
    waiting: Callable[[str], None] = lambda _: None,
) -> T:
    """What `attempt` returns, tried again after a TransientError, longer and longer apart.

    `progress` tells how far things are: a try that got further does not count. Raises HubError when nothing helps
    or the Hub asks for more time than anybody waits.
    """
    failures = 0
    while True:
        before = progress()
        try:
            return attempt()
        except TransientError as error:
            failures = 1 if progress() - before >= _WORTH_A_TRY else failures + 1
            asked = error.wait_s
            wait_s = patience.first_wait_s * 2 ** (failures - 1) if asked is None else asked
            if failures >= patience.tries:
                raise HubError(f"{about}: {error} ({failures} times in a row)") from None
            if asked is not None and asked > patience.longest_wait_s:
                raise HubError(f"{about}: {error}, and asks to wait {asked:.0f} s") from None
            waiting(f"{error}; trying again in {wait_s:.0f} s")
            time.sleep(min(wait_s, patience.longest_wait_s))


_WORTH_A_TRY = 1 << 20  # bytes

_STATUS = {
    408: "the server waited too long",
    429: "the server has had too many requests",
    500: "the server failed (500)",
    502: "the server behind the proxy failed (502)",
    503: "the server is not available (503)",
    504: "the server behind the proxy did not answer (504)",
}


def _asked_wait(headers: Any) -> float | None:
    """Seconds that `Retry-After` asks for, or the Hub's own `RateLimit: "api";r=0;t=55`."""
    limited = re.search(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d{1,6})", headers.get("RateLimit", ""))
    if limited:
        return float(limited[1]) + 1.0
    after = headers.get("Retry-After", "").strip()
    return float(after) if re.fullmatch(r"\d{1,6}", after) else None


def _body(response: Any) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            raise HubError("the Hub's answer is larger than any list of files")
    return bytes(body)
