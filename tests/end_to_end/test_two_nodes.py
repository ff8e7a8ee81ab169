"""Two Ray nodes on this machine: an FSDP2 rank and a vLLM server on each, and one of them is killed."""

import psutil
import pytest
from fixtures.ray_cluster import own_cluster

from verl_vip.records.records import read_run

pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(2400)]

BUDGET = 8 * 8
#: A job goes on waiting for a dead node at most so long, in seconds.
NOTICED_WITHIN_S = 180


NODE = {"num_cpus": 8, "num_gpus": 1, "object_store_memory": 200_000_000}


@pytest.fixture
def cluster(monkeypatch):
    # Workers inherit the environment of their node, not of the command that uses the cluster.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # The command belongs to a head that trains nothing, so that either of the others can die.
    with own_cluster(**NODE | {"num_gpus": 0}, include_dashboard=False) as started:
        started.add_node(**NODE)
        started.add_node(**NODE)
        yield started


def node_without_trainer(cluster):
    """Return a node that does not run verl's own process: what dies with it is waited for by one that lives."""
    trainers = [process for process in psutil.process_iter() if is_trainer(process)]
    raylets = {node: node.all_processes["raylet"][0].process.pid for node in cluster.worker_nodes}
    return next(
        node
        for node, raylet in raylets.items()
        if not any(parent.pid == raylet for trainer in trainers for parent in trainer.parents())
    )


def is_trainer(process):
    try:
        return any("TaskRunner" in word for word in process.cmdline())
    except psutil.Error:
        return False


def on_both(cluster):
    return [
        f"ray_kwargs.ray_init.address={cluster.address}",
        "~ray_kwargs.ray_init.num_cpus",
        "~ray_kwargs.ray_init.num_gpus",
        "trainer.nnodes=2",
        "actor_rollout_ref.rollout.agent.num_workers=3",  # one on each node, the head included
        "trainer.val_before_train=False",
        "trainer.save_freq=2",
    ]


def test_a_killed_node_ends_the_job_and_a_restart_goes_on(launcher, cluster, uninterrupted):
    first = launcher.start("two_nodes", *on_both(cluster), "trainer.total_training_steps=50")
    try:
        first.wait_for(first.has_saved)
        cluster.remove_node(node_without_trainer(cluster), allow_graceful=False)
        assert first.wait(NOTICED_WITHIN_S) != 0
    finally:
        first.kill()
    steps = read_run(first.folder).steps
    assert len(steps) >= 2
    assert all(step.requested == step.observed for step in steps)
    assert all(sum(step.observed) == step.budget == BUDGET for step in steps)

    cluster.add_node(**NODE)
    second = launcher.run("two_nodes", *on_both(cluster), "trainer.total_training_steps=4")
    after = second.records
    assert after.headers[-1].resumed_from >= 2
    assert after.steps[-1].rollouts_total == after.steps[-1].step * BUDGET

    # Two ranks add gradients up in another order; what was sampled from them is the same at this size.
    for step, alone in zip(after.steps, uninterrupted.records.steps, strict=True):
        assert step.ids == alone.ids
        assert step.requested == alone.requested
        assert step.successes == alone.successes
