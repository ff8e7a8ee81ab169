"""Every error that verl-vip raises on purpose.

    VerlVipError
    ├── InvalidInputError (ValueError)     a malformed value: NaN, out of range, of the wrong shape or type
    │   └── InfeasibleBudgetError          a budget that the bounds cannot hold
    ├── ConfigError (ValueError)           a setting that is unknown, of the wrong type, or contradicts another
    ├── StateError (ValueError)            a saved state that is missing, damaged or of another predictor
    ├── IntegrationError (RuntimeError)    verl, Ray or vLLM did not behave as this package relies on
    └── JobError (RuntimeError)            a job cannot be started, failed, or was stopped
        └── UnreachableError               the system that runs the job does not answer; the job may still run

Each message says what is wrong and what to do about it. The classes hold only the message, so that they can be
pickled between Ray processes.
"""


class VerlVipError(Exception):
    """Base class of all errors of this package."""


class InvalidInputError(VerlVipError, ValueError):
    """An argument is malformed: NaN, out of range, of the wrong shape or type."""


class InfeasibleBudgetError(InvalidInputError):
    """No counts within the bounds sum to the budget."""


class ConfigError(VerlVipError, ValueError):
    """A setting is unknown, of the wrong type, or contradicts another setting."""


class StateError(VerlVipError, ValueError):
    """A saved state is missing, damaged, or belongs to another predictor."""


class IntegrationError(VerlVipError, RuntimeError):
    """verl, Ray or vLLM behaved differently from what this package relies on."""


class JobError(VerlVipError, RuntimeError):
    """A job cannot be started, failed, or was stopped."""


class UnreachableError(JobError):
    """The system that runs the job does not answer; the job may still be running."""
