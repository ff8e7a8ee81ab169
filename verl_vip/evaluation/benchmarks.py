"""Benchmarks: named ones, verl's Parquet files, and any table of problems with answers.

No competition problem is shipped: `aime24` and `aime25` come from the Hugging Face Hub at a pinned revision, or from
a local copy (`aime24=FILE`). `offline` is a few problems of our own, for machines without the Hub.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.evaluation.integers import integer_answer
from verl_vip.evaluation.sampling import Message
from verl_vip.prediction.identity import prompt_id

#: What is asked of the model after a problem that comes without a prompt.
INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True)
class HubFile:
    """One file of a data set on the Hugging Face Hub, at a revision that cannot change."""

    repository: str
    revision: str
    path: str
    problems: int


#: Both revisions are in wide use; the contents' hash goes into every manifest.
HUB_FILES: Mapping[str, HubFile] = {
    "aime24": HubFile(
        "HuggingFaceH4/aime_2024",
        "2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
        "data/train-00000-of-00001.parquet",
        30,
    ),
    "aime25": HubFile("math-ai/aime25", "563bb8404243c5f09de6ec262f2db674fe5bce9b", "test.jsonl", 30),
}
_OFFLINE = "offline"


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        id: The first 16 digits of its prompt's content hash.
        prompt: Chat messages.
        answer: The true answer, as the grader takes it.
        source: What verl calls `data_source`.
        extra_info: Passed on to a reward function.
        row: Where it stands among the rows of its file, from 1.
    """

    id: str
    prompt: Sequence[Message]
    answer: Any
    source: str
    extra_info: Mapping[str, Any] = field(default_factory=dict)
    row: int = 1


@dataclass(frozen=True)
class Benchmark:
    """Problems under a name.

    Attributes:
        name: Names the folder of its results.
        problems: Each once, however often its row occurred.
        origin: Where they come from.
        sha256: Of prompts, answers, sources and extra_info: of all that grades depend on besides responses and grader.
    """

    name: str
    problems: tuple[Problem, ...]
    origin: Mapping[str, Any]
    sha256: str


def load_benchmark(spec: str, instruction: str = INSTRUCTION) -> Benchmark:
    """Load a benchmark.

    Args:
        spec: `aime24`, `aime25` or `offline`; a Parquet or JSON-lines file; or `NAME=FILE`.
        instruction: Follows a problem that comes as bare text; prompts in a verl file stay as they are.

    Raises:
        ConfigError: If there is no such benchmark or it cannot be had.
        InvalidInputError: If its content is not one. The message names the row.
    """
    require_benchmark(spec)
    name, separator, place = spec.rpartition("=")
    if not separator and spec in HUB_FILES:
        source = HUB_FILES[spec]
        loaded = _from_rows(spec, _rows(_download(spec, source)), vars(source), instruction)
        _check_competition(loaded, source.problems)
        return loaded
    if not separator and spec == _OFFLINE:
        path = Path(str(files("verl_vip.evaluation") / "offline.jsonl"))
        return _from_rows(spec, _rows(path), {"package": "verl_vip.evaluation"}, instruction)
    path = Path(place)
    loaded = _from_rows(name or path.stem, _rows(path), {"file": str(path.resolve())}, instruction)
    if name in HUB_FILES:
        _check_competition(loaded, HUB_FILES[name].problems)
    return loaded


def require_benchmark(spec: str) -> None:
    """Refuse what names neither a benchmark nor a file, without loading anything.

    Raises:
        ConfigError: If so.
    """
    known = [*HUB_FILES, _OFFLINE]
    if spec not in known and not Path(spec.rpartition("=")[2]).is_file():
        raise ConfigError(
            f"there is no benchmark {spec!r}; give {', '.join(known)}, a .parquet or .jsonl file, or NAME=FILE."
        )


def _download(name: str, source: HubFile) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise ConfigError("huggingface_hub is missing; pip install 'verl-vip[evaluation]'.") from error
    try:
        return Path(
            hf_hub_download(source.repository, source.path, repo_type="dataset", revision=source.revision),
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ConfigError(
            f"{name} could not be had from the Hub ({source.repository}: {type(error).__name__}); "
            f"fetch {source.path} at revision {source.revision} elsewhere and give --benchmark {name}=FILE."
        ) from error


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except ValueError as error:
            raise InvalidInputError(f"{path} is not a JSON-lines file ({error}).") from error
        if not all(isinstance(row, dict) for row in rows):
            raise InvalidInputError(f"{path} must hold one JSON object a line.")
        return rows
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError("pyarrow is missing; pip install 'verl-vip[evaluation]'.") from error
    try:
        table: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidInputError(f"{path} cannot be read as Parquet ({error}).") from error
    return table


def _from_rows(name: str, rows: Sequence[Mapping[str, Any]], origin: Mapping[str, Any], instruction: str) -> Benchmark:
    """Read problems; rows that repeat one, as files for repeated sampling do, count once."""
    if not rows:
        raise InvalidInputError(f"{name} holds no problem.")
    problems: dict[str, Problem] = {}
    for number, row in enumerate(rows, start=1):
        try:
            problem = _problem(row, number, name, instruction)
        except InvalidInputError as error:
            raise InvalidInputError(f"{name}, row {number}: {error}") from error
        first = problems.setdefault(problem.id, problem)
        if first.answer != problem.answer:
            raise InvalidInputError(
                f"{name}, row {number} asks what an earlier row asks but answers {problem.answer!r}, "
                f"not {first.answer!r}; keep one of them."
            )
    content = [[one.id, one.answer, one.source, one.extra_info] for one in problems.values()]
    sha256 = hashlib.sha256(json.dumps(content, default=str, sort_keys=True).encode()).hexdigest()
    return Benchmark(name, tuple(problems.values()), {**origin, "rows": len(rows)}, sha256)


def _problem(row: Mapping[str, Any], number: int, benchmark: str, instruction: str) -> Problem:
    """Read one row: verl's columns, or a problem's text and answer under one of their usual names."""
    fields = {key.lower(): value for key, value in row.items()}
    if "prompt" in fields and isinstance(fields.get("reward_model"), Mapping):
        prompt, answer = fields["prompt"], fields["reward_model"].get("ground_truth")
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
    else:
        text = next((fields[key] for key in ("problem", "question") if fields.get(key)), None)
        answer = fields.get("answer")
        if not isinstance(text, str):
            raise InvalidInputError(
                "there is neither a prompt with a reward_model, as verl has it, nor a problem or question "
                f"(columns: {', '.join(row)})."
            )
        prompt = [{"role": "user", "content": f"{text.strip()}\n\n{instruction}".strip()}]
    if answer is None or answer == "" or (isinstance(answer, (float, Decimal)) and math.isnan(answer)):
        raise InvalidInputError(f"it has no answer{'' if answer is None else f' but {answer!r}'}.")
    if not isinstance(prompt, Sequence) or not prompt or not all(isinstance(message, Mapping) for message in prompt):
        raise InvalidInputError("its prompt is not a list of chat messages.")
    if not isinstance(extra_info := fields.get("extra_info") or {}, Mapping):
        raise InvalidInputError(f"its extra_info is no mapping but {extra_info!r}.")
    return Problem(
        prompt_id(prompt)[:16],
        tuple(dict(message) for message in prompt),
        answer,
        str(fields.get("data_source") or benchmark),
        extra_info,
        number,
    )


def _check_competition(benchmark: Benchmark, problems: int) -> None:
    answers = [integer_answer(problem.answer) for problem in benchmark.problems]
    if len(answers) != problems or not all(answer is not None and 0 <= answer <= 999 for answer in answers):
        raise InvalidInputError(
            f"{benchmark.name} must be {problems} different problems with answers from 0 to 999; this file has "
            f"{len(answers)} problems. Is it the right one?"
        )
