"""Finds the models to evaluate: Hugging Face folders, models on the Hub, and verl's checkpoints.

verl writes `RUN/global_step_N/actor/` with one `model_world_size_W_rank_R.pt` per rank, `fsdp_config.json` and a
`huggingface/` folder, and then `RUN/latest_checkpointed_iteration.txt`. Steps after the one named in that file are not
complete yet. With `trainer.max_actor_ckpt_to_keep`, verl later removes `actor/` of earlier steps and leaves the rest of
`global_step_N/`.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Literal

from verl_vip.errors import ConfigError
from verl_vip.names import LONGEST_DERIVED_NAME, name_from, require_name, split_named

_LOG = logging.getLogger(__name__)

_STEP = re.compile(r"global_step_(\d+)")
_MARK = "latest_checkpointed_iteration.txt"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(?:@[\w.-]+)?")
_WEIGHTS = ("*.safetensors", "*.bin")
#: The file with rank and alpha in the checkpoint of a LoRA run.
_ADAPTER_SCALE = "lora_train_meta.json"
#: Names of other files and folders among the results of models, such as a run's jobs.
_RESERVED = frozenset({"jobs", "metrics.json", "report.html", "report_pictures"})
_REMOVED = "verl has removed the model; raise trainer.max_actor_ckpt_to_keep to keep more"
_CONTENT = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".tiktoken")


@dataclass(frozen=True)
class ModelSource:
    """One model to evaluate.

    Attributes:
        label: The name of the model in tables and folders.
        path: A Hugging Face model folder, or verl's folder of FSDP shards.
        kind: The kind of folder.
        step: The training step of a checkpoint.
        origin: The source of the model, for users.

    Raises:
        InvalidInputError: If the label cannot name a folder.
    """

    label: str
    path: Path
    kind: Literal["huggingface", "fsdp"]
    step: int | None
    origin: str

    def __post_init__(self) -> None:
        require_name(self.label, "a model", _RESERVED, LONGEST_DERIVED_NAME)

    @cached_property
    def sha256(self) -> str:
        """Hash of the files that define the model; reads all of its weights, once."""
        digest = hashlib.sha256()
        for path in self._files():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            digest.update(path.relative_to(self.path).as_posix().encode() + b"\0" + content)
        return digest.hexdigest()

    def _files(self) -> list[Path]:
        if self.kind == "huggingface":
            found = [path for path in self.path.iterdir() if path.suffix in _CONTENT and path.is_file()]
        else:
            found = [*self.path.glob("model_world_size_*.pt"), *self.path.glob(_ADAPTER_SCALE)]
            found.append(self.path / "fsdp_config.json")
            found += [path for path in (self.path / "huggingface").iterdir() if path.is_file()]
        return sorted(path for path in found if not path.name.startswith("."))


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run that verl has marked as complete, in ascending order of steps.

    Attributes:
        models: The checkpoints with a complete model.
        unusable: For each other checkpoint, the reason why it cannot be evaluated.
    """

    models: Mapping[int, ModelSource]
    unusable: Mapping[int, str]

    def describe_unusable(self) -> str:
        """Return a log message on the steps that cannot be evaluated, with reasons; empty if there are none."""
        steps: dict[str, list[int]] = {}
        for step, why in self.unusable.items():
            steps.setdefault(why, []).append(step)
        return "; ".join(f"step {_listed(same)}: {why}" for why, same in steps.items())


def find_models(specs: Sequence[str], steps: Sequence[int] | None = None) -> list[ModelSource]:
    """Return the models that the words of a command line name.

    In run folders, steps without a complete model are skipped with a warning, because verl removes earlier models.

    Args:
        specs: Words, each of which is a folder with a Hugging Face model, the id of a model on the Hub (`OWNER/NAME` or
            `OWNER/NAME@REVISION`), a checkpoint (`global_step_N` or its `actor`), or a run folder with checkpoints. A
            prefix `NAME=` replaces the name of the folder.
        steps: The steps to return of run folders; None for every complete one.

    Raises:
        ConfigError: If a word names no model, a step is missing or incomplete, or two models would have the same name.
        InvalidInputError: If a name cannot name a folder.
    """
    models = [model for spec in specs for model in _models_of(spec, steps, _LOG.warning)]
    _require_different(models)
    return models


def _require_different(models: Sequence[ModelSource]) -> None:
    seen: dict[str, ModelSource] = {}
    for model in models:
        other = seen.setdefault(model.label, model)
        if other is not model:
            raise ConfigError(
                f"{other.path} and {model.path} would both be called {model.label!r}; name one of them: NAME=PATH."
            )


def require_models(specs: Sequence[str], steps: Sequence[int] | None = None) -> None:
    """Refuse words that name no model, as `find_models` does, without asking the Hub.

    Raises:
        ConfigError: If a word is neither a model here nor the form of one on the Hub.
        InvalidInputError: If a name cannot name a folder.
    """
    here = [spec for spec in specs if not _is_on_hub(_name_and_place(spec)[1])]
    _require_different([model for spec in here for model in _models_of(spec, steps, lambda *_: None)])


def find_checkpoints(run: Path, name: str | None = None) -> Checkpoints:
    """Return the checkpoints of a run folder.

    Args:
        run: The folder.
        name: The name of the run in the models' labels; None for the folder's own name.
    """
    name = name_from(run.name, "a run") if name is None else name
    latest = _marked_step(run)
    found = {int(match[1]): path for path in run.iterdir() if (match := _STEP.fullmatch(path.name)) is not None}
    models: dict[int, ModelSource] = {}
    unusable: dict[int, str] = {}
    for step in sorted(step for step in found if latest is not None and step <= latest):
        try:
            model = _checkpoint(found[step], name)
        except ConfigError as error:
            unusable[step] = str(error).rstrip(".")
        else:
            if model is None:
                there = (found[step] / "actor").is_dir()
                unusable[step] = "actor/fsdp_config.json is missing" if there else _REMOVED
            else:
                models[step] = model
    return Checkpoints(models, unusable)


def _marked_step(run: Path) -> int | None:
    """Return the step that verl has last marked as complete; None if the mark is missing or has no number in it."""
    try:
        return int((run / _MARK).read_text())
    except (FileNotFoundError, ValueError):
        return None


def _name_and_place(spec: str) -> tuple[str | None, str]:
    name, place = split_named(spec)
    if name is not None:
        require_name(name, "a model", _RESERVED)
    return name, place


def _is_on_hub(place: str) -> bool:
    return not os.path.exists(place) and _HUB_ID.fullmatch(place) is not None


def _models_of(spec: str, steps: Sequence[int] | None, warn: Callable[..., None]) -> list[ModelSource]:
    name, place = _name_and_place(spec)
    if _is_on_hub(place):
        return [_from_hub(name, place)]
    if not os.path.exists(place):
        raise ConfigError(f"there is no model {place}; give a folder, or OWNER/NAME for one on the Hub.")
    path = Path(place).resolve()
    if (path / "config.json").is_file() and _has_weights(path):
        return [ModelSource(name or name_from(path.name, "a model"), path, "huggingface", None, str(path))]
    _refuse_unfinished(path if _STEP.fullmatch(path.name) else path.parent)
    if (checkpoint := _checkpoint(path, name)) is not None:
        return [checkpoint if name is None else replace(checkpoint, label=name)]
    if _STEP.fullmatch(path.name) and not (path / "actor").is_dir():
        raise ConfigError(f"{path} has no model: {_REMOVED}.")
    if path.is_dir() and any(_STEP.fullmatch(child.name) for child in path.iterdir()):
        return _from_run(name, path, steps, warn)
    raise ConfigError(
        f"{path} holds neither a Hugging Face model (config.json and weights), nor verl's FSDP shards "
        "(actor/fsdp_config.json), nor global_step_N folders; give a folder that does."
    )


def _from_run(name: str | None, run: Path, steps: Sequence[int] | None, warn: Callable[..., None]) -> list[ModelSource]:
    found = find_checkpoints(run, name)
    if not found.models:
        why = found.describe_unusable() or f"verl has not written {_MARK}"
        raise ConfigError(f"{run} has no complete checkpoint: {why}.")
    if missing := [step for step in steps or () if step not in found.models]:
        why = f" ({found.unusable[missing[0]]})" if missing[0] in found.unusable else ""
        raise ConfigError(
            f"{run} has no complete checkpoint of step {missing[0]}{why}; it has {_listed(found.models)}."
        )
    if steps is None and found.unusable:
        warn("%s: skipped %s.", run, found.describe_unusable())
    return [found.models[step] for step in (found.models if steps is None else steps)]


def _refuse_unfinished(checkpoint: Path) -> None:
    """Refuse a step that verl has not marked as complete. A checkpoint copied out of its run has no mark and passes."""
    match = _STEP.fullmatch(checkpoint.name)
    if match is None or not (checkpoint.parent / _MARK).is_file():
        return
    latest = _marked_step(checkpoint.parent)
    if latest is None or int(match[1]) > latest:
        raise ConfigError(
            f"{checkpoint} is incomplete: {_MARK} beside it names an earlier step. Wait until verl has written it, or "
            "give an earlier checkpoint."
        )


def _checkpoint(path: Path, run: str | None) -> ModelSource | None:
    """Return the model of a folder `global_step_N` or of its `actor`; None for any other folder.

    Args:
        path: The folder.
        run: The name of the run in the label; None for the name of its folder.

    Raises:
        ConfigError: If the model is incomplete.
    """
    actor = path / "actor" if (path / "actor").is_dir() else path
    if not (actor / "fsdp_config.json").is_file():
        return None
    match = _STEP.fullmatch(actor.parent.name)
    step = None if match is None else int(match[1])
    if run is None:
        run = name_from(actor.parent.parent.name if match is not None else actor.parent.name, "a model")
    label = run if step is None else f"{run}-step{step}"
    # verl can save the whole model as well. With LoRA it saves base model and adapter separately there.
    if _has_weights(actor / "huggingface") and not (actor / _ADAPTER_SCALE).is_file():
        return ModelSource(label, actor / "huggingface", "huggingface", step, str(actor))
    size = _shards(actor / "fsdp_config.json")
    needed = (f"model_world_size_{size}_rank_{rank}.pt" for rank in range(size))
    if missing := next(
        (name for name in chain(needed, ["huggingface/config.json"]) if not (actor / name).is_file()), None
    ):
        raise ConfigError(f"{actor} is incomplete: {missing} is missing, of {size} shards.")
    return ModelSource(label, actor, "fsdp", step, str(actor))


def _shards(file: Path) -> int:
    try:
        size = int(json.loads(file.read_text())["world_size"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{file} is damaged ({error!r}), or verl is still writing it.") from error
    if size < 1:
        raise ConfigError(f"{file} is damaged: a model cannot have {size} shards.")
    return size


def _from_hub(name: str | None, place: str) -> ModelSource:
    repository, _, revision = place.partition("@")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise ConfigError("huggingface_hub is missing; pip install 'verl-vip[evaluation]'.") from error
    try:
        folder = Path(snapshot_download(repository, revision=revision or None))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ConfigError(
            f"{place} is not a folder here, and it could not be downloaded from the Hub ({type(error).__name__}); "
            "correct the name, or download the model elsewhere and give its folder."
        ) from error
    label = name or name_from(repository.partition("/")[2], "a model")
    # The name of the snapshot's folder is the commit.
    return ModelSource(label, folder, "huggingface", None, f"{repository}@{folder.name}")


def _has_weights(folder: Path) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in _WEIGHTS)


def _listed(steps: Iterable[int]) -> str:
    return ", ".join(map(str, steps))
