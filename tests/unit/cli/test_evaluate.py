"""The words of `verl-vip evaluate`."""

from verl_vip.cli.command import parse
from verl_vip.cli.declared import declared_values
from verl_vip.cli.evaluate import EVALUATE
from verl_vip.evaluation.sampling import SamplingSettings

WORDS = ["m", "--output", "o", "--benchmark", "a"]


def test_a_benchmark_may_be_named_in_several_ways():
    assert parse(EVALUATE.parser(), [*WORDS, "b", "--benchmark", "c"]).benchmark == ["a", "b", "c"]


def test_every_sampling_setting_can_be_given():
    given = declared_values(SamplingSettings, parse(EVALUATE.parser(), WORDS))
    assert SamplingSettings(**given) == SamplingSettings()
    words = "--n 2 --temperature 0.5 --top-p 0.9 --top-k 7 --max-tokens 9 --seed 3 --no-chat-template"
    given = declared_values(SamplingSettings, parse(EVALUATE.parser(), [*WORDS, *words.split()]))
    assert SamplingSettings(**given) == SamplingSettings(2, 0.5, 0.9, 7, 9, 3, chat_template=False)
