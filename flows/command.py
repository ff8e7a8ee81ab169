"""Runs a flow in this process, for the `verl-vip` command; Prefect starts a server of its own if none is set up."""

import importlib
import signal
from types import FrameType
from typing import Any

from prefect.exceptions import TerminationSignal

_TERMINATED = 128 + signal.SIGTERM


def run_flow(name: str, /, **parameters: Any) -> int:
    """Call the flow of this name and print what it returns; returns an exit status.

    Prefect hands a SIGTERM on to whoever handled it before, which by default ends the process before the flow's
    state is told and its hooks are run. So it is handled here first.
    """
    signal.signal(signal.SIGTERM, _raise)
    flow = getattr(importlib.import_module(f"verl_vip.flows.{name}"), name)
    try:
        print(flow(**parameters))  # noqa: T201 (a command's result)
    except TerminationSignal:
        return _TERMINATED
    return 0


def _raise(number: int, _frame: FrameType | None) -> None:
    raise TerminationSignal(signal=number)
