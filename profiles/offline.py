"""Staying off the network: one switch that all which connects obeys, worker processes too.

`slm-advisor --offline`, the wizard's answer and SLM_ADVISOR_OFFLINE turn it on; what is in the Hub's cache and on the
disk can be used as before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

SWITCH = "HF_HUB_OFFLINE"  # huggingface_hub's own: it refuses every request while it is set
SETTING = "SLM_ADVISOR_OFFLINE"
FORBIDDEN = f"--offline, {SETTING} or {SWITCH} forbids"
"""The end of a sentence on what would need the network."""

_ON = frozenset({"1", "on", "yes", "true"})


def is_offline(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the switch is on, by us or by the user's environment."""
    return any(environment.get(name, "").lower() in _ON for name in (SWITCH, SETTING))


def stay_offline(on: bool) -> None:
    """Set the switch for this process and those it starts; a user's setting cannot be undone."""
    if on:
        os.environ[SWITCH] = "1"
    elif is_offline():
        os.environ.pop(SWITCH, None)


def no_network(what: str) -> str | None:
    """Why `what` ("installing the engine") cannot be done, where it would need the network and may not use it."""
    if not is_offline():
        return None
    return f"{what} needs the network, which {FORBIDDEN}"
