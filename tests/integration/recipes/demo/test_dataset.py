from collections import Counter

import pyarrow.parquet as pq
import pytest

from verl_vip.recipes.demo.dataset import DatasetSettings, main, split, write_dataset
from verl_vip.recipes.demo.families import FAMILIES
from verl_vip.recipes.demo.reward import compute_score

NAMES = {family.name for family in FAMILIES}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    main(["--output", str(folder)])
    return {name: pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("train", "validation")}


def test_sizes(tables):
    assert len(tables["train"]) == 2016
    assert len(tables["validation"]) == 252


def test_no_prompt_is_in_both_files_or_twice(tables):
    prompts = [row["prompt"][0]["content"] for rows in tables.values() for row in rows]
    assert len(set(prompts)) == len(prompts)


def test_rows_hold_what_verl_reads(tables):
    for row in tables["train"] + tables["validation"]:
        assert set(row) == {"data_source", "prompt", "ability", "reward_model", "extra_info"}
        assert [message["role"] for message in row["prompt"]] == ["user"]
        assert row["reward_model"]["style"] == "rule"
        assert row["data_source"] == row["extra_info"]["family"]
        truth = row["reward_model"]["ground_truth"]
        assert compute_score(row["data_source"], truth, truth, row["extra_info"]) == 1.0


def test_indices_are_unique_over_both_files(tables):
    indices = [row["extra_info"]["index"] for rows in tables.values() for row in rows]
    assert sorted(indices) == list(range(len(indices)))


@pytest.mark.parametrize("name", ["train", "validation"])
def test_families_and_difficulties_are_equally_frequent(tables, name):
    cells = Counter((row["data_source"], row["extra_info"]["difficulty"]) for row in tables[name])
    assert set(cells) == {(family, difficulty) for family in NAMES for difficulty in (1, 2, 3)}
    assert len(set(cells.values())) == 1


def test_training_prompts_are_shuffled(tables):
    assert {row["data_source"] for row in tables["train"][:100]} == NAMES


def test_the_split_depends_on_the_seed_alone():
    small = DatasetSettings(train_per_cell=3, validation_per_cell=2, seed=5)
    assert split(small) == split(small)
    assert split(small) != split(DatasetSettings(train_per_cell=3, validation_per_cell=2, seed=6))


def test_files_are_written_once(tmp_path):
    small = DatasetSettings(train_per_cell=2, validation_per_cell=1)
    assert write_dataset(tmp_path / "data", small)
    before = (tmp_path / "data" / "train.parquet").stat().st_mtime_ns
    assert not write_dataset(tmp_path / "data", small)
    assert (tmp_path / "data" / "train.parquet").stat().st_mtime_ns == before
    assert write_dataset(tmp_path / "data", DatasetSettings(train_per_cell=3, validation_per_cell=1))
