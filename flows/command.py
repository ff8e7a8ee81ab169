"""Runs a flow in this process, for the `verl-vip` command; Prefect starts a temporary server if none is configured."""

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

#: The dataclasses that each flow builds from its parameters first.
_MADE: Mapping[str, tuple[type, ...]] = {
    "train": (TrainingRun,),
    "evaluate": (EvaluationRun,),
    "pipeline": (TrainingRun, EvaluationRun),
    "sweep": (TrainingRun, SweepPlan),
}


def run_flow(name: str, /, **parameters: Any) -> int:
    """Call the flow of this name, print its result, and return an exit status.

    Prefect passes a SIGTERM on to the handler that was set before. The default handler ends the process before the
    flow's state is reported and its hooks run, so a handler is set here first.

    Raises:
        VerlVipError: If the flow fails, with one sentence that says why. Wrong parameters are refused before any
            server is started.
    """
    made: list[object] = [from_parameters(kind, parameters) for kind in _MADE[name]]
    for one in made:  # composing a config takes seconds, so it comes last
        if isinstance(one, TrainingRun):
            one.check()
    for part in ("flow_runs", "task_runs"):
        logging.getLogger(f"prefect.{part}").addFilter(_in_a_sentence)
    signal.signal(signal.SIGTERM, _raise)
    os.environ.update(loopback.without_proxy(os.environ))  # Prefect's temporary server runs on this machine
    flow = getattr(importlib.import_module(f"verl_vip.flows.{name}"), name)
    try:
        with access.with_password():
            print(flow(**parameters))  # noqa: T201 (a command's result)
    except TerminationSignal:
        return _TERMINATED
    return 0


def _in_a_sentence(record: logging.LogRecord) -> bool:
    """Drop the traceback from the log of an error whose message is enough."""
    if record.exc_info and isinstance(record.exc_info[1], VerlVipError):
        record.exc_info = None
    return True


def _raise(number: int, _frame: FrameType | None) -> None:
    raise TerminationSignal(signal=number)
