"""Dead actors are told from busy ones, on a real Ray."""

import logging
import threading
import time

import pytest
import ray

from verl_vip.workers.compatibility.liveness import Liveness

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(400)]


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


def test_the_process_is_ended_for_a_killed_worker_and_not_for_a_busy_one(actors, caplog):
    ended = threading.Event()
    logging.getLogger("verl_vip").addHandler(caplog.handler)  # a session keeps it from the root logger
    liveness = Liveness(actors, end=ended.set, every=0.05, grace=0.5)
    ray.get([actor.work.remote(0) for actor in actors])
    busy = actors[0].work.remote(1)
    liveness.start()
    ray.get(busy)
    assert liveness.is_alive()
    assert not ended.is_set()
    ray.kill(actors[1])
    assert ended.wait(200)
    assert "an agent-loop worker died" in caplog.text
    assert "Start the same command again" in caplog.text
    logging.getLogger("verl_vip").removeHandler(caplog.handler)


def test_it_stops_when_told_to(actors):
    ended = threading.Event()
    liveness = Liveness(actors[1:], end=ended.set, every=0.05, grace=60)  # it is dead
    liveness.start()
    liveness.stop()
    liveness.join(100)
    assert not liveness.is_alive()
    assert not ended.is_set()


def test_nobody_is_looked_after_without_actors():
    liveness = Liveness([])
    liveness.start()
    liveness.join(100)
    assert not liveness.is_alive()
