"""Writes the demo's training and validation prompts as verl's Parquet files.

Run as `python -m verl_vip.recipes.demo.dataset --output DIR`.
"""

import argparse
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from verl_vip.recipes.demo.cache import build_once
from verl_vip.recipes.demo.families import FAMILIES
from verl_vip.recipes.demo.tasks import Task, distinct_tasks

_LOG = logging.getLogger(__name__)

#: Raise this when the questions change, so that files written earlier are rewritten.
_VERSION = 2


@dataclass(frozen=True)
class DatasetSettings:
    """The number of prompts of each family at each difficulty, and their seed."""

    train_per_cell: int = 48
    validation_per_cell: int = 6
    seed: int = 0


def split(settings: DatasetSettings) -> tuple[list[Task], list[Task]]:
    """Return shuffled training tasks, and validation tasks by family and difficulty. They share no prompt.

    Raises:
        InvalidInputError: If a family cannot make that many different prompts.
    """
    train: list[Task] = []
    validation: list[Task] = []
    size = settings.train_per_cell + settings.validation_per_cell
    for family in FAMILIES:
        for difficulty in range(1, len(family.levels) + 1):
            tasks = distinct_tasks(family, difficulty, size, settings.seed)
            validation += tasks[: settings.validation_per_cell]
            train += tasks[settings.validation_per_cell :]
    Random(settings.seed).shuffle(train)
    return train, validation


def row(task: Task, index: int) -> dict[str, Any]:
    """Return one row in the form that verl's `RLHFDataset` reads."""
    return {
        "data_source": task.family,
        "prompt": [{"role": "user", "content": task.prompt}],
        "ability": "reasoning",
        "reward_model": {"style": "rule", "ground_truth": task.answer},
        "extra_info": {"index": index, "family": task.family, "difficulty": task.difficulty},
    }


def write_dataset(output: Path, settings: DatasetSettings | None = None) -> bool:
    """Write `train.parquet` and `validation.parquet` to the folder `output`, unless they exist already.

    `extra_info.index` numbers the rows of both files, so that it is unique.

    Returns:
        Whether anything was written.
    """
    settings = settings or DatasetSettings()

    def build(folder: Path) -> None:
        train, validation = split(settings)
        rows = [row(task, index) for index, task in enumerate(train + validation)]
        pq.write_table(pa.Table.from_pylist(rows[: len(train)]), folder / "train.parquet")
        pq.write_table(pa.Table.from_pylist(rows[len(train) :]), folder / "validation.parquet")
        _LOG.info("wrote %d training and %d validation prompts to %s", len(train), len(validation), output)

    return build_once(output, {"version": _VERSION, **asdict(settings)}, build)


def main(arguments: list[str] | None = None) -> None:
    """Write the files to the folder named on the command line."""
    parser = argparse.ArgumentParser(description="Write the demo's prompts as Parquet files for verl.")
    parser.add_argument("--output", type=Path, required=True, help="folder for train.parquet, validation.parquet")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not write_dataset(options.output):
        _LOG.info("%s is up to date", options.output)


if __name__ == "__main__":
    main()
