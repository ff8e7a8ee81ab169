"""One training run: a recipe, its overrides, and the machine or cluster that it runs on."""

import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from verl_vip.annotations import check_fields
from verl_vip.errors import ConfigError
from verl_vip.execution import Executor, Job, LocalExecutor, is_complete
from verl_vip.execution.ray_variables import refuse_secrets
from verl_vip.flows.parameters import TrainingParameters, require_address
from verl_vip.names import require_name
from verl_vip.recipes.run import RecipeRun
from verl_vip.records.settings import require_unfinished_or_same

_OWN = "trainer.default_local_dir"


@dataclass(frozen=True, kw_only=True)
class TrainingRun(TrainingParameters):
    """A run as the flows see it. Its job is found again by its folder.

    Raises:
        ConfigError: If a value has the wrong type or is out of range, the recipe is unknown, `root` is relative, an
            override is malformed or changes the run's folder, or a variable for a cluster looks like a secret.
        InvalidInputError: If the name is not valid for a run.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        known = recipes()
        if self.recipe not in known:
            nearest = difflib.get_close_matches(self.recipe, known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(known)}."
            raise ConfigError(f"there is no recipe {self.recipe!r}; {hint}")
        if not Path(self.root).is_absolute():
            raise ConfigError(f"root must be an absolute path, since other processes look there; got {self.root!r}.")
        for override in self.overrides:
            if ("=" not in override and not override.startswith("~")) or override.startswith("-"):
                raise ConfigError(f"{override!r} is not an override; write KEY=VALUE, +KEY=VALUE or ~KEY.")
            if override.lstrip("+").startswith(f"{_OWN}="):
                raise ConfigError(f"{_OWN} follows from the run's root and name ({self.folder}); leave {override} out.")
        if self.cluster is not None:
            require_address(self.cluster)
            refuse_secrets(self.environment, self.cluster)
        require_name(self.name, "a run")
        self.job()

    @property
    def folder(self) -> Path:
        """The folder with the run's checkpoints and records."""
        return Path(self.root) / self.name

    def job(self) -> Job:
        """Return the job that trains the run; verl resumes from the last checkpoint in the folder."""
        return self._recipe_run.job(self.name, self.folder)

    def check(self) -> str:
        """Compose the run's config before anything is started, if that is possible here.

        Returns:
            The reason if the config cannot be checked here; otherwise an empty text.

        Raises:
            ConfigError: If an override is wrong, the run is finished and was trained with other settings, or a file
                that the job reads on this machine is missing.
        """
        composed = self._recipe_run.compose(None if self.cluster is None else self._python_here())
        if composed.config is None:
            return f"the settings are not checked before the job starts: {composed.unchecked}"
        if composed.config["trainer"].get("default_local_dir") != str(self.folder):
            raise ConfigError(f"{_OWN} follows from the run's root and name ({self.folder}); leave it as it is.")
        require_unfinished_or_same(self.folder, composed.config)
        if self.cluster is None and not is_complete(self.folder, self.job().fingerprint):
            _require_files(composed.config, self.recipe)
        return ""

    def _python_here(self) -> str:
        """Return the cluster's interpreter if it is on shared storage, otherwise this process's own."""
        shared = self.python is not None and Path(self.python).is_absolute() and os.access(self.python, os.X_OK)
        return str(self.python) if shared else sys.executable

    @property
    def _recipe_run(self) -> RecipeRun:
        python = self.python or (sys.executable if self.cluster is None else "python")
        return RecipeRun(self.recipe, {_OWN: str(self.folder)}, self.overrides, python, self.environment)

    def executor(self) -> Executor:
        """Connect to the executor of the job.

        Raises:
            UnreachableError: If the cluster does not answer.
        """
        return connect(self.cluster)


def connect(cluster: str | None) -> Executor:
    """Return the executor of this machine, or of the Ray cluster behind a dashboard address.

    Raises:
        UnreachableError: If the cluster does not answer.
    """
    if cluster is None:
        return LocalExecutor()
    from verl_vip.flows.ray_jobs import RayExecutor

    return RayExecutor(cluster)


def _require_files(config: Mapping[str, Any], recipe: str) -> None:
    """Check the files that a job of this machine reads first; the job would need a minute to find one missing.

    Args:
        config: verl's config, resolved.
        recipe: The recipe that it was composed from, whose comment says where its data comes from.

    Raises:
        ConfigError: If a file is missing.
    """
    data = config["data"]
    own_dataset = isinstance(data.get("custom_cls"), Mapping) and data["custom_cls"].get("path") is not None
    named = [] if own_dataset else [(f"data.{key}", data.get(key)) for key in ("train_files", "val_files")]
    model = config["actor_rollout_ref"].get("model")
    named.append(("actor_rollout_ref.model.path", model.get("path") if isinstance(model, Mapping) else None))
    for key, value in named:
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, str) and _is_local(key, path) and not os.path.exists(os.path.expanduser(path)):
                source = files("verl_vip.recipes") / f"{recipe}.yaml"
                how = "`make demo` does, in demo_dir" if recipe == "demo" else f"the comment in {source} says how"
                raise ConfigError(f"{key} names {path}, which does not exist; correct it, or create it first ({how}).")


def _is_local(key: str, path: str) -> bool:
    """Return whether this is a path on the machine, and not a remote address, a pattern or a model of the Hub."""
    if "://" in path or any(character in path for character in "*?[") or "\0" in path:
        return False
    return key.startswith("data.") or path.startswith(("/", "~", "."))


def recipes() -> list[str]:
    """Return the names of all recipes."""
    folder = files("verl_vip.recipes")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
