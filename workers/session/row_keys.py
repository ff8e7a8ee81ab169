"""verl's names of rows in the TransferQueue."""

from collections.abc import Sequence

from verl_vip.errors import IntegrationError


def require_single_outputs(keys: Sequence[str]) -> None:
    """Refuse rollouts of several rows, which verl names `{uid}_{session}_{output}`.

    Each output of an agent's session becomes a row with the session's reward. An advantage estimator is told the
    rows' prompts but not their sessions, so that a rollout would stand in its own baseline, and the batch would
    hold more rows than the budget.

    Raises:
        IntegrationError: If a rollout has more than one row.
    """
    several = [key for key in keys if not key.endswith("_0")]
    if several:
        raise IntegrationError(
            f"the agent loop returned several outputs for one rollout ({len(several)} rows such as {several[0]!r}), "
            "which counts and advantages cannot tell from several rollouts; let it return one output with the whole "
            "conversation, its masked parts included."
        )
