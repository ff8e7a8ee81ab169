"""Runs a flow in this process, for the `verl-vip` command; Prefect starts a temporary server if none is configured."""

import importlib
import logging
import os
import signal
from collections.abc import Callable, Mapping
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


def run_flow(name: str, /, **parameters: Any) -> int:
    """Call the flow of this name, print its result, and return an exit status.

    Prefect passes a SIGTERM on to the handler that was set before. The default handler ends the process before the
    flow's state is reported and its hooks run, so a handler is set here first.

    Raises:
        VerlVipError: If the flow fails, with one sentence that says why. Wrong parameters are refused before any
            server is started.
    """
    _CHECKS[name](parameters)
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


def _check_training(parameters: Mapping[str, Any]) -> None:
    from_parameters(TrainingRun, parameters).check()


def _check_evaluation(parameters: Mapping[str, Any]) -> None:
    from_parameters(EvaluationRun, parameters).check()


def _check_pipeline(parameters: Mapping[str, Any]) -> None:
    from_parameters(EvaluationRun, parameters)  # first, because composing a config takes seconds
    _check_training(parameters)


def _check_sweep(parameters: Mapping[str, Any]) -> None:
    base = from_parameters(TrainingRun, parameters)
    from_parameters(SweepPlan, parameters).check(base)


#: What each flow checks before a server is started.
_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    "train": _check_training,
    "evaluate": _check_evaluation,
    "pipeline": _check_pipeline,
    "sweep": _check_sweep,
}


def _in_a_sentence(record: logging.LogRecord) -> bool:
    """Drop the traceback from the log of an error whose message is enough."""
    if record.exc_info and isinstance(record.exc_info[1], VerlVipError):
        record.exc_info = None
    return True


def _raise(number: int, _frame: FrameType | None) -> None:
    raise TerminationSignal(signal=number)
