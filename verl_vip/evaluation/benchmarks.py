"""Benchmarks: named ones, verl's Parquet files, and any table of problems with answers.

The package contains no competition problems: `aime24` and `aime25` come from the Hugging Face Hub at a pinned revision,
or from a local copy (`aime24=FILE`). `offline` has a few problems of our own, for machines without access to the Hub.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.evaluation.integers import integer_answer
from verl_vip.evaluation.messages import MEDIA_COLUMNS, refuse_media, text_messages
from verl_vip.evaluation.sampling import Message
from verl_vip.json_lines import read_json_lines
from verl_vip.names import name_from, require_name, split_named
from verl_vip.prediction.identity import prompt_id

#: The text that is appended to a problem without a prompt.
INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True)
class HubFile:
    """One file of a data set on the Hugging Face Hub, at a revision that cannot change."""

    repository: str
    revision: str
    path: str
    problems: int


#: Both revisions are widely used; every manifest has the hash of their content.
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
#: Names of other files and folders among the results of a model.
_RESERVED = frozenset({"model", "merge.log"})
#: Columns with media: verl's names, and other common names in tables of problems.
_MEDIA = (*MEDIA_COLUMNS, "image", "video", "audio")


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        id: The first 16 digits of the prompt's content hash.
        prompt: Chat messages whose contents are text.
        answer: The true answer, in the form that the grader expects.
        source: The data source, verl's `data_source`.
        extra_info: Data for a reward function.
        row: The number of its row in the file, from 1.
    """

    id: str
    prompt: Sequence[Message]
    answer: Any
    source: str
    extra_info: Mapping[str, Any] = field(default_factory=dict)
    row: int = 1


@dataclass(frozen=True)
class Benchmark:
    """A named set of problems.

    Attributes:
        name: The name, which is also that of the results' folder.
        problems: The problems without repetitions.
        origin: The source of the problems.
        sha256: Hash of prompts, answers, sources and extra_info. Grades depend on these, the responses and the grader.

    Raises:
        InvalidInputError: If the name cannot name a folder.
    """

    name: str
    problems: tuple[Problem, ...]
    origin: Mapping[str, Any]
    sha256: str

    def __post_init__(self) -> None:
        _require_benchmark_name(self.name)


def load_benchmark(spec: str, instruction: str = INSTRUCTION) -> Benchmark:
    """Load a benchmark.

    Args:
        spec: `aime24`, `aime25` or `offline`; a Parquet or JSON-lines file; or `NAME=FILE`.
        instruction: Text to append to problems that come without a prompt. Prompts in verl's files are not changed.

    Raises:
        ConfigError: If the benchmark does not exist or cannot be downloaded.
        InvalidInputError: If the content is not a benchmark. The message names the row.
    """
    require_benchmark(spec)
    name, path = _name_and_file(spec)
    origin: Mapping[str, Any]
    if path is not None:
        origin = {"file": str(path.resolve())}
    elif name == _OFFLINE:
        path, origin = Path(str(files("verl_vip.evaluation") / "offline.jsonl")), {"package": "verl_vip.evaluation"}
    else:
        path, origin = _download(name, HUB_FILES[name]), vars(HUB_FILES[name])
    loaded = _from_rows(name, _rows(path), origin, instruction)
    if name in HUB_FILES and spec.partition("=")[0] == name:  # a file with the same name by chance is not checked
        _check_competition(loaded, HUB_FILES[name].problems)
    return loaded


def benchmark_name(spec: str) -> str:
    """Return the name of a benchmark, which need not exist.

    Args:
        spec: A benchmark, as `load_benchmark` takes it.

    Raises:
        InvalidInputError: If the name cannot name a folder.
    """
    name, _ = _name_and_file(spec)
    _require_benchmark_name(name)
    return name


def require_benchmark(spec: str) -> None:
    """Refuse a word that is neither a benchmark nor a file, without loading anything.

    Raises:
        ConfigError: If the benchmark does not exist.
        InvalidInputError: If the name cannot name a folder.
    """
    benchmark_name(spec)
    _, path = _name_and_file(spec)
    if path is not None and not os.path.isfile(path):
        raise ConfigError(
            f"there is no benchmark {spec!r}; give {', '.join([*HUB_FILES, _OFFLINE])}, a .parquet or .jsonl file, or "
            "NAME=FILE."
        )


def require_different(names: Sequence[str]) -> None:
    """Refuse benchmarks whose results would be in the same folder.

    Raises:
        ConfigError: If two benchmarks have the same name.
    """
    if len(set(names)) < len(names):
        raise ConfigError("two benchmarks have the same name; name one of them: NAME=FILE.")


def _name_and_file(spec: str) -> tuple[str, Path | None]:
    """Return the name of a benchmark and its file; the file of a named benchmark is None."""
    name, place = split_named(spec)
    if name is not None:
        return name, Path(place)
    if place == _OFFLINE or place in HUB_FILES:
        return place, None
    return name_from(Path(place).stem, "a benchmark"), Path(place)


def _require_benchmark_name(name: str) -> None:
    require_name(name, "a benchmark", _RESERVED)


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
            f"{name} could not be downloaded from the Hub ({source.repository}: {type(error).__name__}); download "
            f"{source.path} at revision {source.revision} elsewhere and give --benchmark {name}=FILE."
        ) from error


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [row for _, row in read_json_lines(path)]
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError("pyarrow is missing; pip install 'verl-vip[evaluation]'.") from error
    try:
        table: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidInputError(f"{path} is not a readable Parquet file ({error}); give another file.") from error
    return table


def _from_rows(name: str, rows: Sequence[Mapping[str, Any]], origin: Mapping[str, Any], instruction: str) -> Benchmark:
    """Read problems. Repeated rows, as in files for repeated sampling, become one problem."""
    if not rows:
        raise InvalidInputError(f"{name} contains no problems; give a file with at least one.")
    problems: dict[str, Problem] = {}
    for number, row in enumerate(rows, start=1):
        try:
            problem = _problem(row, number, name, instruction)
        except InvalidInputError as error:
            raise InvalidInputError(f"{name}, row {number}: {error}") from error
        first = problems.setdefault(problem.id, problem)
        if first.answer != problem.answer:
            raise InvalidInputError(
                f"{name}, row {number} repeats the problem of an earlier row, with the answer {problem.answer!r} "
                f"instead of {first.answer!r}; keep one of the two rows."
            )
    content = [[one.id, one.answer, one.source, one.extra_info] for one in problems.values()]
    sha256 = hashlib.sha256(json.dumps(content, default=str, sort_keys=True).encode()).hexdigest()
    return Benchmark(name, tuple(problems.values()), {**origin, "rows": len(rows)}, sha256)


def _problem(row: Mapping[str, Any], number: int, benchmark: str, instruction: str) -> Problem:
    """Read one row: verl's columns, or the text and answer of a problem under common column names."""
    fields = {key.lower(): value for key, value in row.items()}
    if "prompt" in fields and isinstance(fields.get("reward_model"), Mapping):
        prompt, answer = fields["prompt"], fields["reward_model"].get("ground_truth")
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        refuse_media(fields, MEDIA_COLUMNS)
    else:
        text = next((fields[key] for key in ("problem", "question") if fields.get(key)), None)
        answer = fields.get("answer")
        if not isinstance(text, str):
            raise InvalidInputError(
                "it needs a prompt and a reward_model, as in verl's data, or a problem or question; its columns are "
                f"{', '.join(row)}."
            )
        prompt = [{"role": "user", "content": f"{text.strip()}\n\n{instruction}".strip()}]
        refuse_media(fields, _MEDIA)
    if answer is None or answer == "" or (isinstance(answer, (float, Decimal)) and math.isnan(answer)):
        raise InvalidInputError(
            f"its answer is {'missing' if answer is None else repr(answer)}; correct it or leave the row out."
        )
    if not isinstance(extra_info := fields.get("extra_info") or {}, Mapping):
        raise InvalidInputError(f"its extra_info must be a mapping; got {extra_info!r}.")
    messages = text_messages(prompt)
    source = str(fields.get("data_source") or benchmark)
    _require_characters([messages, answer, source])
    return Problem(prompt_id(prompt)[:16], messages, answer, source, extra_info, number)


def _require_characters(content: Any) -> None:
    try:
        json.dumps(content, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            "its text contains a lone surrogate, which is not a valid character; correct the text."
        ) from error


def _check_competition(benchmark: Benchmark, problems: int) -> None:
    answers = [integer_answer(problem.answer) for problem in benchmark.problems]
    if len(answers) != problems or not all(answer is not None and 0 <= answer <= 999 for answer in answers):
        raise InvalidInputError(
            f"{benchmark.name} must be {problems} different problems with answers from 0 to 999, but this file has "
            f"{len(answers)} problems; check that it is the right file."
        )
