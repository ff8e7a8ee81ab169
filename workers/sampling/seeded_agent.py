"""verl's single-turn agent with a seed for every rollout, so that a run can be repeated.

vLLM otherwise draws from one generator in the order in which requests happen to arrive, and a resumed run starts
that generator anew. verl's own `full_determinism` gives all rollouts the same seed, and so the same text. Name the
agent in a YAML file, and the file in `actor_rollout_ref.rollout.agent.agent_loop_config_path`:

    - name: seeded
      _target_: verl_vip.workers.sampling.seeded_agent.SeededAgent

and set `actor_rollout_ref.rollout.agent.default_agent_loop=seeded`. On a CPU set
`actor_rollout_ref.rollout.enable_chunked_prefill=False` too: vLLM cannot go on with a seeded request there whose
prompt it has read in pieces.
"""

import hashlib
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from verl_vip.prediction.identity import prompt_id

#: The field of a prompt with the round of its step, counted from 1; absent in the first round.
ROUND_FIELD = "sampling_round"


class SeededAgent(SingleTurnAgentLoop):  # type: ignore[misc]
    """Samples a rollout from a seed made of `rollout.seed`, the step, its round, the prompt and the number in it.

    Prompts of one batch that agree in wording and in `extra_info.index` get the same rollouts.
    """

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        """Run verl's agent with the rollout's own seed."""
        seed = rollout_seed(
            self.rollout_config.seed,
            int(kwargs["global_steps"]),
            int(kwargs.get(ROUND_FIELD, 1)),
            prompt_id(list(kwargs["raw_prompt"])),
            kwargs.get("index"),
            int(kwargs["session_id"]),
        )
        return await super().run({**sampling_params, "seed": seed}, priority=priority, **kwargs)


def rollout_seed(*parts: Any) -> int:
    """Return a seed below 2^31 that depends on every part."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
