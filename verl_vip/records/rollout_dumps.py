"""Reads the rollouts that stock verl dumps: `trainer.rollout_data_dir` and `trainer.validation_data_dir`.

verl (0.9.1, `RayPPOTrainer._write_generations`) writes one file per step, `STEP.jsonl`, with one line per response:
`input` (the decoded prompt), `output`, `gts`, `score` (the sum of the token rewards), `step`, and whatever else the
reward function returned. The trainer of `verl.trainer.ppo.v1` adds `uid`, `PROMPT_ROLLOUT_OUTPUT`; a rollout of several
outputs is scored once, by its last one.
"""

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verl_vip.errors import InvalidInputError, VerlVipError
from verl_vip.json_lines import parse_json_lines, valid_text
from verl_vip.prediction.identity import label_of, prompt_id
from verl_vip.records.outcomes import KeyKind, OutcomeBuilder, OutcomeSource, SourceKind
from verl_vip.regular_files import open_regular
from verl_vip.text import counted

_NAME = re.compile(r"([0-9]{1,12})\.jsonl")
_PART = re.compile(r"(.+_[0-9]+)_([0-9]+)")


def dump_steps(names: Collection[str]) -> dict[int, str]:
    """Return the names that verl gives the dumps of a step, by step in ascending order."""
    found = {int(match[1]): name for name in names if (match := _NAME.fullmatch(name))}
    return dict(sorted(found.items()))


def read_dumps(
    folder: Path,
    names: Collection[str],
    label_field: str = "data_source",
    reward_range: tuple[float, float] | None = None,
    with_texts: bool = False,
) -> OutcomeSource:
    """Read dumps of one run. Memory grows with the prompt groups, not with the responses.

    A file with a malformed line is left out as a whole. The incomplete last line of a file that is being written is
    left out alone, as are rollouts whose score is not finite.

    Args:
        folder: The folder.
        names: The names of its files to read, as `dump_steps` accepts them.
        label_field: The field of the data source, by dotted name; verl dumps it only if the reward function returns it.
        reward_range: The scores of a failure and of a success; None to find them out.
        with_texts: Whether to keep the text of each prompt.

    Raises:
        InvalidInputError: If no file has a rollout with a score.
    """
    builder = OutcomeBuilder(KeyKind.TEXT, reward_range)
    left_out: list[str] = []
    for step, name in dump_steps(names).items():
        path = folder / name
        try:
            groups = _read_step(path, label_field, left_out)
        except VerlVipError as error:
            left_out.append(f"{error} The step is left out.")
            continue
        except OSError as error:
            left_out.append(f"{path} cannot be read: {error.strerror}. The step is left out.")
            continue
        if not groups and not path.stat().st_size:
            left_out.append(f"{path} is empty.")
        for text, group in groups.items():
            for score in group.scores:
                builder.see(group.label, score)
            varied = max(group.scores) > min(group.scores)
            builder.add(
                prompt_id(text),
                step,
                sum(group.scores),
                len(group.scores),
                varied,
                group.label,
                text if with_texts else None,
            )
    return builder.source(folder, SourceKind.DUMPS, tuple(left_out))


@dataclass
class _Group:
    label: str
    scores: list[float] = field(default_factory=list)


def _read_step(path: Path, label_field: str, left_out: list[str]) -> dict[str, _Group]:
    """Return the groups of a step by the text of their prompt."""
    groups: dict[str, _Group] = {}
    unscored = 0
    for text, score, line in _rollouts(path, left_out):
        if math.isfinite(score):
            groups.setdefault(text, _Group(label_of(line, label_field))).scores.append(score)
        else:
            unscored += 1
    if unscored:
        rollouts = counted(unscored, "rollout")
        left_out.append(f"{path} has {rollouts} whose score is not a finite number; left out.")
    return groups


def _rollouts(path: Path, left_out: list[str]) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """Yield the prompt's text, the score and the first line of each rollout."""
    waiting: tuple[str, str, float, dict[str, Any]] | None = None  # a rollout whose last output may still follow
    for number, line in _lines(path, left_out):
        text, score = line.get("input"), line.get("score")
        if not isinstance(text, str) or isinstance(score, bool) or not isinstance(score, int | float):
            raise InvalidInputError(
                f'{path}, line {number} has no text "input" or no number "score", which verl\'s dumps have; is this '
                "a folder of trainer.rollout_data_dir or trainer.validation_data_dir?"
            )
        text, score = valid_text(text), _finite(score)
        uid = line.get("uid")
        match = _PART.fullmatch(uid) if isinstance(uid, str) else None
        if waiting is not None:
            if match and match[1] == waiting[0]:
                waiting = waiting[0], waiting[1], score, waiting[3]
                continue
            yield waiting[1:]
        slim = {key: value for key, value in line.items() if key != "output"}
        waiting = match[1] if match else "", text, score, slim
        if not match:
            yield waiting[1:]
            waiting = None
    if waiting is not None:
        yield waiting[1:]


def _finite(score: float) -> float:
    try:
        return float(score)
    except OverflowError:  # an int too large for a float
        return math.inf


def _lines(path: Path, left_out: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    torn = False

    def complete(lines: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal torn
        for line in lines:
            torn = not line.endswith(b"\n")
            yield line

    with open_regular(path) as file:
        try:
            yield from parse_json_lines(complete(file), appended=True)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}, {error}") from error
    if torn:
        left_out.append(f"{path}: the last line is incomplete and is left out; verl may still be writing it.")
