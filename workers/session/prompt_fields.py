"""Fields of a prompt on its way from the rollout manager to the agent loops."""

#: verl's own: how many sessions its agent-loop worker starts for the prompt.
COUNT_FIELD = "__rollout_n__"

#: Which round of its step the rollouts belong to; the first has none.
ROUND_FIELD = "sampling_round"
