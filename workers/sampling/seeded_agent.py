"""verl's single-turn agent with a seed for every rollout, so that a run can be repeated.

Otherwise vLLM draws from one generator in the order in which requests arrive, and a resumed run starts with a new
generator. verl's own `full_determinism` gives all rollouts the same seed, and therefore the same text. Name the agent
in a YAML file, and the file in `actor_rollout_ref.rollout.agent.agent_loop_config_path`:

    - name: seeded
      _target_: verl_vip.workers.sampling.seeded_agent.SeededAgent

and set `actor_rollout_ref.rollout.agent.default_agent_loop=seeded`. On a CPU set
`actor_rollout_ref.rollout.enable_chunked_prefill=False` too: there vLLM cannot continue a seeded request after a
chunked prefill.
"""

import hashlib
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from verl_vip.prediction.identity import prompt_id

#: The field of a prompt with the round of its step, counted from 1; absent in the first round.
ROUND_FIELD = "sampling_round"


class SeededAgent(SingleTurnAgentLoop):  # type: ignore[misc]
    """Samples a rollout with a seed made from `rollout.seed`, the step, the round, the prompt and the rollout's number.

    Prompts of one batch with the same messages and the same `extra_info.index` get the same rollouts.
    """

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        """Run verl's agent with the seed of the rollout."""
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
    """Return a seed below 2^31 that depends on all parts."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
