"""Which models an evaluation is about: Hugging Face folders, models on the Hub, and verl's checkpoints.

verl writes `RUN/global_step_N/actor/` with one `model_world_size_W_rank_R.pt` a rank, `fsdp_config.json` and a
`huggingface/` folder, and then `RUN/latest_checkpointed_iteration.txt`. A step after the one named there is not
complete yet.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from verl_vip.errors import ConfigError

_STEP = re.compile(r"global_step_(\d+)")
_MARK = "latest_checkpointed_iteration.txt"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(?:@[\w.-]+)?")
_WEIGHTS = ("*.safetensors", "*.bin")
#: In a checkpoint of a LoRA run: rank and alpha.
_ADAPTER_SCALE = "lora_train_meta.json"
_CONTENT = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".tiktoken")


@dataclass(frozen=True)
class ModelSource:
    """One model to evaluate.

    Attributes:
        label: Names it in tables and folders.
        path: A Hugging Face model folder, or verl's folder of FSDP shards.
        kind: Which of the two.
        step: The training step of a checkpoint.
        origin: Where it came from, for people.
    """

    label: str
    path: Path
    kind: Literal["huggingface", "fsdp"]
    step: int | None
    origin: str

    @cached_property
    def sha256(self) -> str:
        """Hash of the files that make the model what it is; reads all of its weights, once."""
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


def find_models(specs: Sequence[str], steps: Sequence[int] | None = None) -> list[ModelSource]:
    """Return the models that the words of a command line mean.

    Args:
        specs: Each a folder with a Hugging Face model, a model's id on the Hub (`OWNER/NAME` or
            `OWNER/NAME@REVISION`), a checkpoint (`global_step_N` or its `actor`) or a run folder that holds some;
            with `NAME=` before it, NAME instead of the folder's name.
        steps: Of run folders, these steps; None for every complete one.

    Raises:
        ConfigError: If one means no model, a step is missing or incomplete, or two would have the same name.
    """
    models = [model for spec in specs for model in _models_of(spec, steps)]
    seen: dict[str, ModelSource] = {}
    for model in models:
        other = seen.setdefault(model.label, model)
        if other is not model:
            raise ConfigError(
                f"{other.path} and {model.path} would both be called {model.label!r}; name one of them: NAME=PATH."
            )
    return models


def complete_steps(run: Path) -> dict[int, Path]:
    """Return the complete checkpoints of a run folder by step, ascending."""
    marker = run / _MARK
    text = marker.read_text().strip() if marker.is_file() else ""
    latest = int(text) if text.isdigit() else -1
    found = {int(match[1]): path for path in run.iterdir() if (match := _STEP.fullmatch(path.name)) is not None}
    return {step: found[step] for step in sorted(found) if step <= latest}


def _models_of(spec: str, steps: Sequence[int] | None) -> list[ModelSource]:
    name, separator, place = spec.rpartition("=")
    if separator and Path(spec).exists():
        name, place = "", spec
    path = Path(place)
    if not path.exists():
        if _HUB_ID.fullmatch(place):
            return [_from_hub(name, place)]
        raise ConfigError(f"there is no model {place}; give a folder, or OWNER/NAME for one on the Hub.")
    path = path.resolve()
    if (path / "config.json").is_file() and _has_weights(path):
        return [ModelSource(_label(name or path.name), path, "huggingface", None, str(path))]
    _refuse_unfinished(path if _STEP.fullmatch(path.name) else path.parent)
    if (checkpoint := _checkpoint(path)) is not None:
        return [replace(checkpoint, label=name) if name else checkpoint]
    if path.is_dir() and any(_STEP.fullmatch(child.name) for child in path.iterdir()):
        return _from_run(name, path, steps)
    raise ConfigError(
        f"{path} holds neither a Hugging Face model (config.json and weights), nor verl's FSDP shards "
        "(actor/fsdp_config.json), nor global_step_N folders."
    )


def _from_run(name: str, run: Path, steps: Sequence[int] | None) -> list[ModelSource]:
    complete = complete_steps(run)
    if not complete:
        raise ConfigError(f"{run} has no complete checkpoint: verl has not written {_MARK}.")
    if missing := [step for step in steps or () if step not in complete]:
        raise ConfigError(f"{run} has no complete checkpoint of step {missing[0]}; it has {_listed(complete)}.")
    found = []
    for step in complete if steps is None else steps:
        model = _checkpoint(complete[step])
        if model is None:
            raise ConfigError(f"{complete[step]} has no model: actor/fsdp_config.json is missing.")
        found.append(replace(model, label=_label(f"{name or run.name}-step{step}")))
    return found


def _refuse_unfinished(checkpoint: Path) -> None:
    """Refuse a step that verl has not marked as complete; a checkpoint copied out of its run has no mark beside it."""
    match = _STEP.fullmatch(checkpoint.name)
    marked = (checkpoint.parent / _MARK).is_file()
    if match is not None and marked and int(match[1]) not in complete_steps(checkpoint.parent):
        raise ConfigError(
            f"{checkpoint} is not complete: {_MARK} beside it names an earlier step. verl is still writing, or was "
            "stopped while it did."
        )


def _checkpoint(path: Path) -> ModelSource | None:
    """Return the model of `global_step_N` or of its `actor`, if the folder is one."""
    actor = path / "actor" if (path / "actor").is_dir() else path
    if not (actor / "fsdp_config.json").is_file():
        return None
    match = _STEP.fullmatch(actor.parent.name)
    step = None if match is None else int(match[1])
    run = actor.parent.parent.name if match is not None else actor.parent.name
    label = _label(run if step is None else f"{run}-step{step}")
    # verl may be asked to save the whole model too; with LoRA it writes base model and adapter apart there.
    if _has_weights(actor / "huggingface") and not (actor / _ADAPTER_SCALE).is_file():
        return ModelSource(label, actor / "huggingface", "huggingface", step, str(actor))
    try:
        size = int(json.loads((actor / "fsdp_config.json").read_text())["world_size"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{actor / 'fsdp_config.json'} is damaged ({error!r}); is verl still writing there?"
        ) from error
    needed = [*(f"model_world_size_{size}_rank_{rank}.pt" for rank in range(size)), "huggingface/config.json"]
    if missing := [name for name in needed if not (actor / name).is_file()]:
        raise ConfigError(f"{actor} is incomplete: {missing[0]} is missing, of {size} shards.")
    return ModelSource(label, actor, "fsdp", step, str(actor))


def _from_hub(name: str, place: str) -> ModelSource:
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
            f"{place} is no folder here and could not be had from the Hub ({type(error).__name__})."
        ) from error
    label = _label(name or repository.partition("/")[2])
    # The snapshot's folder is named after the commit.
    return ModelSource(label, folder, "huggingface", None, f"{repository}@{folder.name}")


def _has_weights(folder: Path) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in _WEIGHTS)


def _label(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "model"


def _listed(steps: Iterable[int]) -> str:
    return ", ".join(map(str, steps))
