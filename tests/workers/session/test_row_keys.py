import pytest

from verl_vip.errors import IntegrationError
from verl_vip.workers.session.row_keys import require_single_outputs


def test_one_row_a_rollout_is_what_is_expected():
    require_single_outputs(["4f_0_0", "4f_10_0", "5a_0_0"])
    require_single_outputs([])


def test_agents_with_several_outputs_are_refused():
    with pytest.raises(IntegrationError, match=r"several outputs for one rollout \(2 rows such as '4f_0_1'\)"):
        require_single_outputs(["4f_0_0", "4f_0_1", "4f_0_2", "4f_1_0"])


def test_verl_names_rows_so():
    import inspect

    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

    worker = getattr(AgentLoopWorkerTQ, "__ray_metadata__", None)
    worker = AgentLoopWorkerTQ if worker is None else worker.modified_class
    assert 'keys.append(f"{uid}_{session_id}_{i}")' in inspect.getsource(worker._agent_loop_postprocess)
