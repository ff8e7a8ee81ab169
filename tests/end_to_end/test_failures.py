"""What cannot work ends with an error, soon and by name."""

import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(2400)]


@pytest.mark.slow
def test_a_broken_weight_sync_ends_the_run_with_an_error(launcher):
    # Without its plugin vLLM drops the weights after the first load, so that every later load fails. Stock verl
    # then waits for an answer for ever.
    run = launcher.start("broken_sync", "trainer.total_training_steps=1", VLLM_PLUGINS="none")
    failure = "weight_loader"
    try:
        run.wait_for(lambda: failure in run.text)
        status = run.wait()
    finally:
        run.kill()
    assert status != 0
    assert failure in run.text


def test_a_wrong_setting_is_refused_before_any_model_is_loaded(launcher):
    run = launcher.start("wrong_setting", "vip.lower=20")
    assert run.wait() != 0
    assert "1 <= lower <= upper; got 20 and 16" in run.text
    assert "all initialize finished" not in run.text
