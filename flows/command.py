"""Runs a flow in this process, for the `verl-vip` command; Prefect starts a server of its own if none is set up."""

import importlib
import logging
import os
import signal
from collections.abc import Mapping
from types import FrameType
from typing import Any

from prefect.exceptions import TerminationSignal

from verl_vip.errors import VerlVipError
from verl_vip.flows import access, loopback
from verl_vip.flows.evaluation_run import EvaluationRun
from verl_vip.flows.parameters import from_parameters
from verl_vip.flows.sweep_space import SweepPlan
from verl_vip.flows.training_run import TrainingRun

_TERMINATED = 128 + signal.SIGTERM

#: What each flow makes of its parameters first.
_MADE: Mapping[str, tuple[type, ...]] = {
    "train": (TrainingRun,),
    "evaluate": (EvaluationRun,),
    "pipeline": (TrainingRun, EvaluationRun),
    "sweep": (TrainingRun, SweepPlan),
}


def run_flow(name: str, /, **parameters: Any) -> int:
    """Call the flow of this name and print what it returns; returns an exit status.

    Prefect hands a SIGTERM on to whoever handled it before, which by default ends the process before the flow's
    state is told and its hooks are run. So it is handled here first.

    Raises:
        VerlVipError: What went wrong, in a sentence; wrong parameters before any server is started.
    """
    made: list[object] = [from_parameters(kind, parameters) for kind in _MADE[name]]
    for one in made:  # composing a config takes seconds, and comes last
        if isinstance(one, TrainingRun):
            one.check()
    for part in ("flow_runs", "task_runs"):
        logging.getLogger(f"prefect.{part}").addFilter(_in_a_sentence)
    signal.signal(signal.SIGTERM, _raise)
    os.environ.update(loopback.without_proxy(os.environ))  # Prefect's temporary server is on this machine
    flow = getattr(importlib.import_module(f"verl_vip.flows.{name}"), name)
    try:
        with access.with_password():
            print(flow(**parameters))  # noqa: T201 (a command's result)
    except TerminationSignal:
        return _TERMINATED
    return 0


def _in_a_sentence(record: logging.LogRecord) -> bool:
    """Take the traceback from the line of an error whose message says it all."""
    if record.exc_info and isinstance(record.exc_info[1], VerlVipError):
        record.exc_info = None
    return True


def _raise(number: int, _frame: FrameType | None) -> None:
    raise TerminationSignal(signal=number)
