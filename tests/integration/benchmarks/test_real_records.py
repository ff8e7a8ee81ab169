"""The benchmark on real records: the reading of its files, the placing of visits, the scores against brute force."""

import json
import subprocess
import sys
from itertools import product

import pandas as pd
import pytest
import torch
from fixtures import ROOT
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.real_records import new_prompts, worlds
from benchmarks.real_records.__main__ import GRIDS, TUNED, choose_settings, measure
from benchmarks.real_records.covariates import over_first_epochs
from benchmarks.real_records.record import ROLLOUTS, RecordedRun, place, read_rates, read_run
from benchmarks.real_records.replay import constructors, hindsight, replay
from benchmarks.real_records.scores import (
    allocated,
    estimate,
    estimated_variance,
    judge,
    score,
    sums_by_prompt,
    unbiased_variance,
)
from benchmarks.real_records.serving import WITH, WITHOUT, judge_served, serve
from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.gradient_variance import GradientVariance

ACCURACIES = {"7": [0.0, 0.125], "3": [1.0], "5": [0.5, 0.75, 0.875]}


class Lengths:
    """An embedder that needs no model."""

    def embed(self, ids, texts):
        return torch.tensor([[float(len(text)), 1.0] for text in texts])


def write(folder, accuracies=None, indices=(3, 5, 7)):
    folder.mkdir(exist_ok=True)
    rows = [
        {"prompt": [{"role": "user", "content": "x" * index}], "extra_info": {"index": index, "split": "train"}}
        for index in indices
    ]
    pd.DataFrame(rows).to_parquet(folder / "dsr_sub.parquet")
    (folder / "acc_step_500.json").write_text(json.dumps(ACCURACIES if accuracies is None else accuracies))
    return folder


def record_of(rates, visits=12, seed=0):
    """A record whose prompts succeed at constant rates."""
    generator = torch.Generator().manual_seed(seed)
    rates = torch.as_tensor(rates, dtype=torch.float64)
    drawn = torch.rand(len(rates), visits, ROLLOUTS, generator=generator, dtype=torch.float64) < rates[:, None, None]
    prompts = Prompts(tuple(map(str, range(len(rates)))), torch.randn(len(rates), 4, generator=generator))
    return RecordedRun(prompts, tuple(drawn.sum(2)))


class TestReading:
    def test_accuracies_meet_their_prompts(self, tmp_path):
        record = read_run(write(tmp_path / "deep").parent, Lengths())
        assert record.prompts.embeddings[:, 0].tolist() == [7, 3, 5]
        assert [visits.tolist() for visits in record.successes] == [[0, 1], [8], [4, 6, 7]]

    @pytest.mark.parametrize("name", ["acc_step_500.json", "dsr_sub.parquet"])
    def test_a_missing_file_is_named(self, tmp_path, name):
        (write(tmp_path) / name).unlink()
        with pytest.raises(InvalidInputError, match=f"{name} is not in .*download it"):
            read_run(tmp_path, Lengths())

    @pytest.mark.parametrize("name", ["acc_step_500.json", "dsr_sub.parquet"])
    @pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
    def test_a_cut_file_is_refused(self, tmp_path, name, kept):
        path = write(tmp_path) / name
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(InvalidInputError, match=f"{name} cannot be read .*download it again"):
            read_run(tmp_path, Lengths())

    @pytest.mark.parametrize("bad", [0.1, -0.125, 1.125, float("nan"), "1", None])
    def test_what_is_no_accuracy_of_eight_rollouts_is_refused(self, tmp_path, bad):
        write(tmp_path, {**ACCURACIES, "3": [0.5, bad]})
        with pytest.raises(InvalidInputError, match="prompt 3"):
            read_run(tmp_path, Lengths())

    @pytest.mark.parametrize("bad", [{"3": []}, {"3": 0.5}])
    def test_a_prompt_without_visits_is_refused(self, tmp_path, bad):
        write(tmp_path, {**ACCURACIES, **bad})
        with pytest.raises(InvalidInputError, match="prompt 3: not a list"):
            read_run(tmp_path, Lengths())

    @pytest.mark.parametrize("bad", [[], {}, 3])
    def test_a_file_of_another_kind_is_refused(self, tmp_path, bad):
        write(tmp_path).joinpath("acc_step_500.json").write_text(json.dumps(bad))
        with pytest.raises(InvalidInputError, match="does not map"):
            read_run(tmp_path, Lengths())

    def test_files_that_do_not_belong_together_are_refused(self, tmp_path):
        with pytest.raises(InvalidInputError, match="same commit"):
            read_run(write(tmp_path, indices=(3, 5, 6)), Lengths())

    def test_two_copies_are_refused(self, tmp_path):
        write(tmp_path / "a")
        write(tmp_path / "b")
        with pytest.raises(InvalidInputError, match="2 times"):
            read_run(tmp_path, Lengths())

    def test_counts_of_one_prompt_are_added_up(self, tmp_path):
        rows = {"prompt": ["b", "a"], "successes": [[64, 128], [32]]}
        pd.DataFrame(rows).to_parquet(tmp_path / "deepscaler_counts.parquet")
        texts, rates = read_rates(tmp_path)
        assert texts == ["a", "b"]
        assert rates.tolist() == [0.25, 0.75]

    @pytest.mark.parametrize("bad", [[], [129], [-1]])
    def test_impossible_counts_are_refused(self, tmp_path, bad):
        pd.DataFrame({"prompt": ["a", "b"], "successes": [[3], bad]}).to_parquet(tmp_path / "deepscaler_counts.parquet")
        with pytest.raises(InvalidInputError, match="between 0 and 128"):
            read_rates(tmp_path)

    def test_the_command_says_in_one_line_what_is_missing(self, tmp_path):
        command = [sys.executable, "-m", "benchmarks.real_records", "--data", str(tmp_path), "--cache", str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("acc_step_500.json is not in")
        assert "Traceback" not in done.stderr


class TestPlacing:
    @given(
        lengths=st.lists(st.integers(1, 9), min_size=4, max_size=12), batch=st.integers(1, 4), seed=st.integers(0, 9)
    )
    def test_each_visit_is_placed_once_in_its_order(self, lengths, batch, seed):
        prompts = Prompts(tuple(map(str, range(len(lengths)))), torch.ones(len(lengths), 1))
        # A visit's successes are its number, so that a mix-up shows.
        record = RecordedRun(prompts, tuple(torch.arange(length) for length in lengths))
        placed = place(record, seed, batch=batch, steps=20)
        assert torch.equal(placed.successes.long(), placed.visit)
        for rows in placed.prompt.tolist():
            assert len(set(rows)) == batch
        for prompt in range(len(lengths)):
            numbers = placed.visit[placed.prompt == prompt].tolist()
            assert numbers == list(range(len(numbers)))

    def test_a_visit_is_near_its_share_of_the_run(self):
        record = record_of(torch.full((64,), 0.5), visits=10)
        placed = place(record, 0, batch=16, steps=40)
        step = torch.arange(len(placed.prompt))[:, None] + 0.5
        assert ((step - 40 * (placed.visit + 0.5) / 10).abs() <= 40 / 10 / 2 + 1.5).all()

    def test_seeds_differ(self):
        record = record_of(torch.full((64,), 0.5))
        one, other = place(record, 1, batch=16), place(record, 2, batch=16)
        assert not torch.equal(one.prompt, other.prompt)
        assert torch.equal(one.prompt, place(record, 1, batch=16).prompt)


class TestHindsight:
    @pytest.mark.parametrize("window", [1, 3, 8, 50])
    def test_it_is_the_mean_of_the_visits_around(self, window):
        record = record_of([0.1, 0.5, 0.8, 0.3], visits=12)
        placed = place(record, 0, batch=2, steps=24)
        found = hindsight(record, placed, window)
        for step, column in product(range(len(placed.prompt)), range(2)):
            visits = record.successes[placed.prompt[step, column]].tolist()
            at = int(placed.visit[step, column])
            around = visits[max(at - window, 0) : at] + visits[at + 1 : at + 1 + window]
            mean = (sum(around) + 0.5) / (8 * len(around) + 1)
            assert found[step].mean[column] == pytest.approx(mean)

    def test_the_visit_itself_is_left_out(self):
        record = record_of([0.4] * 4, visits=6)
        placed = place(record, 0, batch=2, steps=12)
        changed = RecordedRun(record.prompts, tuple(visits.clone() for visits in record.successes))
        step, column = 3, 1
        changed.successes[placed.prompt[step, column]][placed.visit[step, column]] = 8
        before, after = (hindsight(one, place(one, 0, batch=2, steps=12)) for one in (record, changed))
        assert after[step].mean[column] == before[step].mean[column]


class TestScores:
    @pytest.mark.parametrize("estimator", ["rloo", "dr_grpo", "predicted_baseline"])
    @pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9])
    def test_the_estimated_variance_is_unbiased(self, estimator, p):
        """Its mean over all outcomes is the variance that follows from enumerating a group's rewards."""
        mean, n = 0.3, 4
        prediction = Prediction(
            torch.full((9,), mean, dtype=torch.float64), torch.full((9,), 0.03, dtype=torch.float64)
        )
        k = torch.arange(9, dtype=torch.float64)
        chance = torch.distributions.Binomial(8, torch.tensor(p, dtype=torch.float64)).log_prob(k).exp()
        found = estimated_variance(estimator, torch.full((9,), n), k, prediction)
        exact = 0.0
        strength = float(GradientVariance(estimator).belief(prediction).strength[0])
        for rewards in product((0.0, 1.0), repeat=n):
            likelihood = p ** sum(rewards) * (1 - p) ** (n - sum(rewards))
            average = sum(rewards) / n
            for reward in rewards:
                baseline = {
                    "rloo": (sum(rewards) - reward) / (n - 1),
                    "dr_grpo": average,
                    "predicted_baseline": (strength * mean + sum(rewards) - reward) / (strength + n - 1),
                }[estimator]
                exact += likelihood * (reward - baseline) ** 2 / n**2
        assert float((chance * found).sum()) == pytest.approx(exact, abs=1e-12)

    def test_counts_spend_the_budget_within_the_bounds(self):
        mean = torch.linspace(0, 1, 32, dtype=torch.float64)
        for estimator in ("rloo", "dr_grpo", "predicted_baseline"):
            counts = allocated(estimator, Prediction(mean, torch.zeros_like(mean)))
            assert counts.sum() == 8 * 32
            assert counts.min() >= 3
            assert counts.max() <= 32

    def test_sums_are_those_of_a_loop(self):
        placed = place(record_of([0.3] * 6, visits=8), 0, batch=3, steps=16)
        values = torch.rand(placed.prompt.shape, dtype=torch.float64)
        expected = torch.zeros(6, dtype=torch.float64)
        for step in range(4, 9):
            for column in range(3):
                expected[placed.prompt[step, column]] += values[step, column]
        assert torch.allclose(sums_by_prompt(values, placed, (5, 9), 6), expected)

    def test_what_is_the_same_for_every_prompt_has_no_width(self):
        sums = {"a": torch.full((2, 30), 3.0, dtype=torch.float64), "b": torch.full((2, 30), 4.0, dtype=torch.float64)}
        assert estimate(sums, lambda x: x["a"] / x["b"]) == {
            "value": 0.75, "interval": [0.75, 0.75], "placements": [0.75, 0.75]
        }  # fmt: skip

    def test_the_interval_is_that_of_the_mean_of_prompts(self):
        values = torch.randn(1, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        found = estimate({"x": values, "n": torch.ones_like(values)}, lambda x: x["x"] / x["n"])
        half = 1.96 * float(values.std()) / 20
        assert found["value"] == pytest.approx(float(values.mean()), abs=1e-5)
        assert (found["interval"][1] - found["interval"][0]) / 2 == pytest.approx(half, rel=0.1)

    def test_a_predictor_with_hindsight_attains_all_and_a_constant_one_nothing(self):
        rates = torch.rand(60, generator=torch.Generator().manual_seed(0)).mul(3).sub(1).clamp(0, 1)
        record = record_of(rates)
        placements = [place(record, seed, batch=12, steps=60) for seed in (1, 2)]
        known = [score(hindsight(record, one), one) for one in placements]
        same = [score(constant(one), one) for one in placements]
        found = judge({"drifting_gp": known, "constant": same}, known, (1, 60), 60)
        for estimator in ("rloo", "dr_grpo", "predicted_baseline"):
            assert found["drifting_gp"][f"share_{estimator}"]["value"] == 1
            assert found["drifting_gp"][f"share_{estimator}"]["interval"] == [1, 1]
            assert found["constant"][f"share_{estimator}"]["value"] == 0
            assert found["hindsight"][f"variance_left_{estimator}"]["value"] < 0.9
            assert found["constant"][f"variance_left_{estimator}"]["value"] == 1
        assert found["drifting_gp"]["log_loss_above_default"]["interval"] == [0, 0]
        assert found["hindsight"]["top_signal"]["value"] > 1.5
        assert found["constant"]["spearman"] is None
        low, high = found["constant"]["top_signal"]["interval"]  # ties are broken at random
        assert low < 1 < high

    def test_log_loss_and_top_quarter_by_hand(self):
        record = record_of([0.5] * 8, visits=1)
        placed = place(record, 0, batch=8, steps=1)
        mean = torch.tensor([0.9, 0.5, 0.1, 0.2, 0.3, 0.6, 0.95, 0.05], dtype=torch.float64)
        scored = score([Prediction(mean, torch.zeros_like(mean))], placed).scored
        k = placed.successes[0]
        assert torch.allclose(scored["loss"][0], -(k * mean.log() + (8 - k) * (1 - mean).log()) / 8)
        assert scored["top"][0].tolist() == [0, 1, 0, 0, 0, 1, 0, 0]
        assert torch.allclose(scored["top signal"][0], scored["top"][0] * k * (8 - k) / 56)


def constant(placed):
    half = torch.full((placed.prompt.shape[1],), 0.5, dtype=torch.float64)
    return [Prediction(half, torch.zeros_like(half)) for _ in placed.prompt]


def test_every_predictor_predicts_before_it_observes():
    record = record_of([0.2, 0.8, 0.5, 0.4] * 4, visits=4)
    placed = place(record, 0, batch=8, steps=8)
    for name, build in constructors().items():
        predictions = replay(build(), record, placed)
        assert len(predictions) == len(placed.prompt), name
        first = build().predict(record.prompts.select(placed.prompt[0]))
        assert torch.equal(predictions[0].mean, first.mean), name
    assert "oracle" not in constructors()


def test_a_whole_run_is_judged_and_kept_as_json(monkeypatch):
    """A table with a long memory is chosen where nothing changes, and is better than the default one there."""
    monkeypatch.setitem(GRIDS, "beta_table", [{"decay": 0.3}, {"decay": 1.0}])
    rates = torch.rand(16, generator=torch.Generator().manual_seed(1))
    record = record_of(rates, visits=25)
    tuning = choose_settings("beta_table", record, place(record, 0, batch=4, steps=100))
    assert tuning["trials"][0]["settings"] == {}
    assert tuning["best"]["decay"] == 1
    placements = [place(record, 1, batch=4, steps=100)]
    found, visits = measure(
        record, placements, {name: tuning["best"] if name == "beta_table" else {} for name in GRIDS}
    )
    assert json.loads(json.dumps(found)) == found
    assert set(visits) == {*constructors(), *TUNED, "hindsight"}
    late = found["eras"]["20-500"]
    assert late["visits"] == 4 * (len(placements[0].prompt) - 19)
    tuned, default, known = (
        late[name]["variance_left_rloo"]["value"] for name in ("beta_table, best setting", "beta_table", "hindsight")
    )
    assert tuned < default < 1
    assert known == pytest.approx(tuned, abs=0.03)
    assert found["served"]["uniform"]["no prediction"]["20-500"]["signal"]["value"] == 1


class TestServing:
    def test_served_signal_is_that_of_a_loop(self):
        rates = [0.5] * 12 + [0.0] * 36
        record = record_of(rates)
        placements = [place(record, 0, batch=24, steps=24)]
        counts = [serve(WITH["mopps"], hindsight(record, one), record, one) for one in placements]
        assert counts[0].sum(1).tolist() == [8.0] * len(counts[0])  # 24 / 16 prompts, at least one
        found = judge_served(counts, placements, 48)["1-9"]
        own, mixed, all_signal, rows = 0.0, 0.0, 0.0, 0
        for step, column in product(range(9), range(24)):
            k, n = float(placements[0].successes[step, column]), float(counts[0][step, column])
            own += n * float(unbiased_variance(torch.tensor(k)))
            mixed += n * (0 < k < 8)
            all_signal += float(unbiased_variance(torch.tensor(k)))
            rows += 1
        assert found["signal"]["value"] == pytest.approx(own / (8 * 9) / (all_signal / rows), abs=1e-4)
        assert found["mixed"]["value"] == pytest.approx(mixed / (8 * 9), abs=1e-4)
        assert found["signal"]["value"] > 2

    def test_uniform_serves_the_average(self):
        record = record_of([0.3, 0.9] * 12)
        placed = place(record, 0, batch=12, steps=24)
        counts = serve(WITHOUT["uniform"], constant(placed), record, placed)
        assert (counts == 8).all()
        assert judge_served([counts], [placed], 24)["1-9"]["signal"]["value"] == 1


def test_another_models_rate_helps_from_the_first_epoch_on():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(64, generator=generator)
    known = torch.sigmoid(logits + 1 + 0.3 * torch.randn(64, generator=generator)).tolist()
    record = record_of(torch.sigmoid(logits), visits=12)
    columns = {"rate": {"rate": [None, *known[1:]]}}
    found = over_first_epochs(record, columns, number=1, batch=16)
    assert found["steps"] == {"1": [1, 4], "2": [5, 8], "3": [9, 12], "1, after its first step": [2, 4]}
    scores = found["eras"]["1, after its first step"]
    assert scores["rate"]["variance_left_rloo"]["value"] < 0.9
    assert scores["drifting_gp"]["variance_left_rloo"]["value"] > 0.95


def test_new_prompts_from_their_text(tmp_path):
    """Texts that say nothing: the truth attains all, and no predictor is far from equal counts."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 129, (120,), generator=generator).tolist()
    rows = {"prompt": [f"prompt {number}" for number in range(120)], "successes": [[count] for count in counts]}
    pd.DataFrame(rows).to_parquet(tmp_path / "deepscaler_counts.parquet")
    found = new_prompts.measure(tmp_path, Lengths(), seeds=2, size=100, batch=20)
    assert found["prompts"] == 100
    assert found["eras"]["all"]["visits"] == 100
    assert found["eras"]["last quarter"]["visits"] == 20
    scores = found["eras"]["all"]
    assert scores["hindsight"]["share_rloo"]["value"] == 1
    assert scores["beta_table"]["variance_left_rloo"]["value"] == 1
    assert scores["hindsight"]["variance_left_rloo"]["value"] < scores["drifting_gp"]["variance_left_rloo"]["value"]


def test_smoothed_trajectories_follow_constant_and_changing_rates():
    steady, rising = torch.full((40,), 6), (torch.arange(40) >= 20).long() * ROLLOUTS
    record = record_of([0.5, 0.5], visits=40)
    world = worlds.trajectories(RecordedRun(record.prompts, (steady, rising)), width=2.0, times=41)
    torch.testing.assert_close(world.rates[0], torch.full((41,), 0.75, dtype=torch.float64))
    # The change is at the middle, and is smoothed over a few visits.
    assert world.rates[1, 20] == pytest.approx(0.5)
    assert (world.rates[1, :12] < 0.01).all()
    assert (world.rates[1, 29:] > 0.99).all()
    assert (world.rates[1].diff() >= 0).all()


def test_a_world_of_difficulties_has_the_rates_of_the_record(tmp_path):
    rows = [
        {"prompt": "a", "successes": [0, 0]},
        {"prompt": "b", "successes": [64]},
        {"prompt": "c", "successes": [128]},
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "deepscaler_counts.parquet")
    assert worlds.difficulties(tmp_path).rates == pytest.approx((0.5 / 129, 0.5, 128.5 / 129))
