"""Whatever a flow is given: it makes its run of it, or says in one sentence which parameter is wrong."""

import os
import random
from dataclasses import MISSING, fields

import pytest
from prefect.utilities.callables import parameter_schema

from verl_vip.annotations import description
from verl_vip.errors import ConfigError, VerlVipError
from verl_vip.flows.evaluate import evaluate
from verl_vip.flows.evaluation_run import EvaluationRun
from verl_vip.flows.parameters import (
    EvaluationParameters,
    FollowingParameters,
    SweepParameters,
    TrainingParameters,
    described_by,
    from_parameters,
)
from verl_vip.flows.pipeline import pipeline
from verl_vip.flows.sweep import sweep
from verl_vip.flows.sweep_space import SweepPlan
from verl_vip.flows.train import train
from verl_vip.flows.training_run import TrainingRun

#: A larger campaign sets these.
CASES = int(os.environ.get("VERL_VIP_FUZZ_CASES", "500"))
SEED = int(os.environ.get("VERL_VIP_FUZZ_SEED", "0"))
RIGHT = {
    TrainingRun: {"recipe": "demo", "name": "a", "root": "/runs", "overrides": ["vip.upper=9"]},
    EvaluationRun: {"name": "a", "root": "/runs", "benchmarks": ["offline"]},
    SweepPlan: {"strategies": ["vip", "uniform"], "budgets": [4, 8]},
}
WRONG = [
    *(None, True, False, 0, -1, 1, 2.5, 10**30, -(10**30), 1e308, float("nan"), float("inf"), float("-inf")),
    *("", " ", ".", "..", "a/b", "../a", "a" * 300, "é", "\0", "\ud800", "a\nb", "4", "vip", "aime24", "b=offline"),
    *("--help", "-x", "=", "a=b", "a=b=c", "~", "${x}", "http://127.0.0.1:1", "/no/such/folder", "file:///x"),
    *([], [[]], [None], [1], [0], [10**30], [""], ["\0"], ["\ud800"], ["vip", "vip"], ["a=1", "a=1"], [["vip"]]),
    *({}, {"a": "b"}, {"a": 1}, {1: "b"}, {"": ""}, {"A=B": "c"}, {"A": "\0"}, {"A": None}, (1, 2), {1, 2}, b"a"),
]


def cases(kind, seed, number):
    draw = random.Random(seed)
    names = [entry.name for entry in fields(kind)]
    for _ in range(number):
        changes = {draw.choice(names): draw.choice(WRONG) for _ in range(draw.choice((1, 1, 2, 3)))}
        yield {**RIGHT[kind], **changes}, changes


def refusal(kind, parameters):
    """Return the sentence that refuses the parameters; None if a run is made of them, and a job of the run."""
    try:
        made = from_parameters(kind, parameters)
    except VerlVipError as error:
        return str(error)
    if kind is not SweepPlan:
        job = made.job() if kind is TrainingRun else made.job(3)
        assert all(isinstance(word, str) for word in job.command)
    return None


@pytest.mark.parametrize("kind", RIGHT)
def test_wrong_parameters_are_refused_in_one_sentence(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sentences = []
    for parameters, changes in cases(kind, SEED, CASES):
        try:
            sentence = refusal(kind, parameters)
        except Exception as error:
            raise AssertionError(f"{changes}: {error!r}") from error
        sentences += [sentence] if sentence else []
    assert [sentence for sentence in sentences if len(sentence.splitlines()) != 1] == []
    assert len(sentences) > CASES / 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (TrainingRun, {"recipe": None}, "recipe is missing"),
        (TrainingRun, {"recipe": 3}, "recipe must be text; got 3"),
        (TrainingRun, {"overrides": "vip.upper=9"}, "overrides must be a list; got 'vip.upper=9'"),
        (TrainingRun, {"overrides": [3]}, r"overrides\[0\] must be text; got 3"),
        (TrainingRun, {"environment": {"A": 1}}, r"environment\['A'\] must be text; got 1"),
        (TrainingRun, {"retries": -1}, "retries must be a whole number from 0 to 1000; got -1"),
        (EvaluationRun, {"n": 2.5}, "n must be a whole number from 1 to 1e\\+06; got 2.5"),
        (EvaluationRun, {"patience_s": float("nan")}, "patience_s must be a finite number from 0 to"),
        (SweepPlan, {"budgets": [4.5]}, r"budgets\[0\] must be a whole number"),
        (SweepPlan, {"search": "random"}, "search must be one of 'grid', 'botorch'; got 'random'"),
        (SweepPlan, {"seeds": float("inf")}, "seeds must be a whole number"),
    ],
)
def test_the_wrong_parameter_is_named(kind, changes, message):
    with pytest.raises(ConfigError, match=message):
        from_parameters(kind, {**RIGHT[kind], **changes})


FLOWS = {
    train: (TrainingParameters,),
    sweep: (TrainingParameters, SweepParameters),
    evaluate: (FollowingParameters,),
    pipeline: (TrainingParameters, EvaluationParameters),
}


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_the_form_on_a_flows_page_has_the_declared_descriptions_and_defaults(flow):
    declared = {entry.name: entry for kind in FLOWS[flow] for entry in fields(kind)}
    schema = parameter_schema(flow)
    for name, shown in schema.properties.items():
        assert shown["description"] == description(declared[name].type)
        default = declared[name].default
        assert (name in schema.required) == (default is MISSING and declared[name].default_factory is MISSING)
        empty = default in (MISSING, ())  # null stands for an empty list or mapping
        assert shown.get("default") == (None if empty else list(default) if isinstance(default, tuple) else default)


def test_a_flow_whose_parameter_is_not_declared_is_refused():
    with pytest.raises(KeyError, match="nmae"):
        described_by(TrainingParameters)(lambda recipe, nmae: None)


@pytest.mark.parametrize("kind", [TrainingParameters, FollowingParameters, SweepParameters])
def test_every_parameter_is_described(kind):
    assert [entry.name for entry in fields(kind) if not description(entry.type)] == []
