import numpy as np
import pytest

from verl_vip.simulation.measures import StepMeasures
from verl_vip.simulation.run import Arm, RunResult, SimulationSettings
from verl_vip.simulation.summary import MEASURES, mean_and_half_width, summarize
from verl_vip.statistics.intervals import mean_interval

SETTINGS = SimulationSettings(steps=2)
TOTAL = SETTINGS.budget.total


def run(variance, success, serves_batch=True, rollouts=TOTAL):
    step = StepMeasures(rollouts, rollouts // 4, rollouts // 2, variance, 2.0, 1.0, serves_batch)
    return RunResult([step] * (len(success) - 1), success)


def test_interval_is_students():
    found = mean_and_half_width(mean_interval([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert found == pytest.approx({"mean": 3, "half_width": 2.7764451 * np.sqrt(2.5 / 5)})
    assert mean_and_half_width(mean_interval([7.0])) == {"mean": 7.0, "half_width": 0.0}


def test_measures_by_hand():
    uniform = [run(2.0, [0.2, 0.3, 0.4]), run(2.0, [0.2, 0.3, 0.4])]
    runs = [run(1.25, [0.2, 0.4, 0.6]), run(1.25, [0.2, 0.4, 0.6])]
    measures = summarize(Arm("vip", "ridge"), runs, SETTINGS, uniform).measures
    assert set(measures) == set(MEASURES)
    means = {name: value.value for name, value in measures.items()}
    assert means == pytest.approx(
        {
            "attainable_share": 0.75,
            "regret": 0.25,
            "variance": 0.625,
            "without_signal": 0.25,
            "trained": 0.5,
            "rollouts_per_step": TOTAL,
            "success_end": 0.6,
            "success_mean": 0.4,
            "above_uniform": 0.1,
            "rollouts_to_uniform": 0.5,
        }
    )
    assert all(value.half_width == pytest.approx(0, abs=1e-12) for value in measures.values())


def test_what_has_no_meaning_is_none():
    uniform = [run(2.0, [0.2, 0.3, 0.4])]
    measures = summarize(Arm("mopps", "ridge"), [run(1.5, [0.2, 0.2, 0.2], False)], SETTINGS, uniform).measures
    assert {name for name, value in measures.items() if value is None} == {
        "attainable_share",
        "regret",
        "rollouts_to_uniform",
    }
    alone = summarize(Arm("vip", "ridge"), [run(1.5, [0.2, 0.3, 0.4])], SETTINGS).measures
    assert alone["above_uniform"] is alone["rollouts_to_uniform"] is None


def test_a_run_of_many_small_steps_is_laid_over_rollouts():
    summary = summarize(Arm("dapo", "ridge"), [run(1.5, [0.0, 0.1, 0.2, 0.3, 0.4], False, TOTAL // 2)], SETTINGS)
    assert summary.rollouts[-1] == 2 * TOTAL
    np.testing.assert_allclose(summary.success, np.linspace(0, 0.4, len(summary.success)), atol=1e-12)
