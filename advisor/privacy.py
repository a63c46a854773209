"""Staying off the network: one switch that whatever fetches from the Hub obeys, worker processes too."""

from __future__ import annotations

import os

SWITCH = "HF_HUB_OFFLINE"  # huggingface_hub's own: it refuses every request while it is set
_ON = frozenset({"1", "on", "yes", "true"})


def is_offline() -> bool:
    """Whether the switch is on, by us or by the user's environment."""
    return os.environ.get(SWITCH, "").lower() in _ON


def stay_offline(on: bool) -> None:
    """Set the switch for this process and those it starts."""
    if on:
        os.environ[SWITCH] = "1"
    elif is_offline():
        del os.environ[SWITCH]
