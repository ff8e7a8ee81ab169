"""What verl's replay buffer may hand over, as the observer narrows it down."""

import pytest
from omegaconf import OmegaConf

from verl_vip.errors import IntegrationError
from verl_vip.workers import observer
from verl_vip.workers.observer import Observer

NO_EVICTIONS = (set(), set(), set(), {})


@pytest.fixture
def buffer(monkeypatch):
    settings = OmegaConf.create({"settings": {"vip": {"poll_seconds": 0.1}}})
    monkeypatch.setattr(observer, "current_session", lambda: settings)
    found = Observer(
        trainer_mode="colocate_async",
        trainer_config=OmegaConf.create({}),
        max_off_policy_threshold=8,
        max_off_policy_strategy="drop",
        sampler_kwargs=OmegaConf.create({}),
        refill_fn=None,
    )
    found.finished_keys["train"] = {"a", "c", "e"}
    found.failure_keys["train"] = {"b"}
    found.running_keys["train"] = {"d"}
    found.pending_keys["train"] = {"f"}
    found.finished_keys["val"] = {"v", "w"}
    return found


@pytest.mark.parametrize(
    ("awaited", "done"),
    [("ab", "ab"), ("ad", "a"), ("df", ""), ("ce", "ce")],
)
def test_only_prompts_that_were_planned_together_are_taken(buffer, awaited, done):
    buffer._awaited = frozenset(awaited)
    assert buffer._sampleable_terminal_keys("train", NO_EVICTIONS) == set(done)


def test_validation_takes_what_is_done_whatever_training_waits_for(buffer):
    buffer._awaited = frozenset("df")
    assert buffer._sampleable_terminal_keys("val", NO_EVICTIONS) == {"v", "w"}


def test_a_lost_prompt_ends_the_run_and_is_not_waited_for(buffer):
    buffer._awaited = frozenset("adxy")
    with pytest.raises(IntegrationError, match="lost 2 of 4 prompts that were planned together"):
        buffer._sampleable_terminal_keys("train", NO_EVICTIONS)
