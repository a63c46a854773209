"""A bar of the memory a deployment takes, with a tick at what is free now and its end at what could be free."""

from __future__ import annotations

from advisor.report.documents import DeploymentView, DeviceSummary


def budgets_of(row: DeploymentView, device: DeviceSummary) -> tuple[float | None, float | None]:
    """What is free now and with everything else closed, in bytes, of the memory that the deployment is in.

    A card of its own has one budget.
    """
    own = row.memory.accelerator_budget_bytes
    if row.memory.accelerator_bytes and own is not None and not device.accelerator_shares_memory:
        return None, own
    whole = device.budget_cleared_bytes
    if device.budget == "given" or whole is None:
        whole = device.host_budget_bytes
    return device.budget_now_bytes, whole


def bar(width: int, taken: float, now: float | None, cleared: float | None) -> str:
    """ "███▏░░╎░": taken of `cleared` bytes, ticked at `now`; empty where no budget is known."""
    whole = max(filter(None, (now, cleared)), default=0.0)
    if not whole:
        return ""
    full = min(width, max(1, round(width * taken / whole)))
    cells = ["█"] * full + ["░"] * (width - full)
    if now is not None and now < 0.97 * whole:
        tick = min(width - 1, int(width * now / whole))
        cells[tick] = "┃" if tick < full else "╎"
    return "".join(cells)
