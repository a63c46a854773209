"""Which Hub, which cache, and how patiently: what the environment says, by huggingface_hub's own rules.

huggingface_hub reads these variables once, when it is imported. Here they are read at each call, without importing
it: a plan for local weights, or from the cache, needs nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from profiles.offline import is_offline
from quantize.errors import SourceError

_TRUE = {"1", "ON", "YES", "TRUE"}


class HubSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the Hub and its cache are. The token is not in here, so that no message or log can show it."""

    endpoint: str = "https://huggingface.co"
    cache: Path
    offline: bool = False
    use_token: bool = True
    timeout_s: float = 10.0
    """Without a single byte from the Hub."""

    @property
    def shown_endpoint(self) -> str:
        """The address without a name and password it may hold."""
        parts = urlsplit(self.endpoint)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How often something is tried again, and after how long."""

    tries: int = 5
    """In a row without getting further."""
    first_wait_s: float = 1.0
    """Doubles from try to try."""
    longest_wait_s: float = 301.0
    """The Hub counts requests over five minutes and may ask to wait that long."""


def hub_settings(environment: Mapping[str, str] | None = None) -> HubSettings:
    """The settings by HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE and their relatives.

    Raises SourceError for an HF_ENDPOINT that is no web address.
    """
    variables = os.environ if environment is None else environment
    caches = variables.get("XDG_CACHE_HOME") or "~/.cache"
    home = variables.get("HF_HOME") or f"{caches}/huggingface"
    cache = variables.get("HF_HUB_CACHE") or variables.get("HUGGINGFACE_HUB_CACHE") or f"{home}/hub"
    endpoint = (variables.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    transformers = variables.get("TRANSFORMERS_OFFLINE") or ""
    disabled = variables.get("HF_HUB_DISABLE_IMPLICIT_TOKEN") or ""
    timeout = variables.get("HF_HUB_DOWNLOAD_TIMEOUT") or ""
    return HubSettings(
        endpoint=_checked(endpoint),
        cache=Path(os.path.expandvars(cache)).expanduser(),
        offline=is_offline(variables) or transformers.upper() in _TRUE,
        use_token=disabled.upper() not in _TRUE,
        timeout_s=float(timeout) if timeout.isdecimal() and int(timeout) else 10.0,
    )


def _checked(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        good = False
    if not good:
        raise SourceError(
            "HF_ENDPOINT is no web address: set it to one like https://huggingface.co, or unset it"
        )
    return endpoint
