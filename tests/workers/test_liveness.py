"""Dead actors are told from busy ones, on a real Ray."""

import time

import pytest
import ray
from verl_vip.workers.liveness import Liveness

from verl_vip.errors import IntegrationError

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def actors():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_raylet_start_wait_time_s", "120")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)

    @ray.remote(num_cpus=0)
    class Worker:
        def work(self, seconds):
            time.sleep(seconds)

    yield [Worker.remote() for _ in range(2)]
    ray.shutdown()


def test_a_busy_worker_is_alive_and_a_killed_one_is_not(actors):
    liveness = Liveness(actors, every=0)
    ray.get([actor.work.remote(0) for actor in actors])
    busy = actors[0].work.remote(1)
    check_for(0.3, liveness)
    ray.get(busy)
    ray.kill(actors[1])
    with pytest.raises(IntegrationError, match=r"an agent-loop worker died.* Start the same command again"):
        check_for(30, liveness)


def check_for(seconds, liveness):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        liveness.check()
        time.sleep(0.05)


def test_it_looks_no_more_often_than_asked(actors):
    ray.get(actors[0].work.remote(0))
    Liveness(actors, every=60).check()  # one of them is dead
