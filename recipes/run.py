"""A recipe run by verl's trainer: the command as a job, and the composed config."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verl_vip.errors import ConfigError
from verl_vip.execution import Job, fingerprint
from verl_vip.recipes.overrides import override

_COMPOSE_S = 120.0


@dataclass(frozen=True)
class Composition:
    """The result of composing a config.

    Attributes:
        config: verl's whole config, resolved; None if it could not be composed here.
        unchecked: The reason why it could not be composed; otherwise empty.
    """

    config: Mapping[str, Any] | None
    unchecked: str = ""


@dataclass(frozen=True)
class RecipeRun:
    """A recipe with the settings of one run.

    Attributes:
        recipe: A recipe of `verl_vip.recipes`.
        place: Settings with the run's folders, as text by key. They are not part of the run's identity.
        overrides: Hydra overrides of the recipe, as the user wrote them.
        environment: Environment variables for the job.
        python: The job's interpreter.
    """

    recipe: str
    place: Mapping[str, str]
    overrides: Sequence[str]
    python: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def job(self, name: str, folder: Path) -> Job:
        """Return the job that trains the recipe; verl resumes from the last checkpoint in the folder.

        Args:
            name: The name of the job.
            folder: The folder of the job's files.

        Raises:
            ConfigError: If a text of `place` cannot be written as an override.
            InvalidInputError: If the name or the folder is not valid for a job.
        """
        settings = {
            "recipe": self.recipe,
            "overrides": list(self.overrides),
            "environment": dict(self.environment),
        }
        return Job(
            name=name,
            command=(
                *(self.python, "-m", "verl.trainer.main_ppo"),
                *("--config-path=pkg://verl_vip.recipes", f"--config-name={self.recipe}"),
                *self._all_overrides(),
            ),
            folder=folder,
            fingerprint=fingerprint(settings),
            environment={
                "PYTHONUNBUFFERED": "1",
                # verl's file logger truncates its file at every start.
                "VERL_FILE_LOGGER_PATH": str(folder / "verl_metrics_{attempt}_{time}.jsonl"),
                **self.environment,
            },
        )

    def compose(self, python: str | None = None) -> Composition:
        """Compose and check the config of the job within seconds, with the job's interpreter.

        Args:
            python: An interpreter of this machine, if the job runs on other machines.

        Raises:
            ConfigError: If an override is wrong, or the job would refuse the config.
        """
        request = {"recipe": self.recipe, "overrides": self._all_overrides(), "elsewhere": python is not None}
        program = python or self.python
        try:
            done = subprocess.run(
                [program, "-m", "verl_vip.workers.settings.preflight"],
                input=json.dumps(request),
                capture_output=True,
                text=True,
                timeout=_COMPOSE_S,
                check=False,
                env={**os.environ, **self.environment},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Composition(None, f"{program}: {error}")
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            last = (done.stderr.strip() or "no answer").splitlines()[-1]
            return Composition(None, f"{program}: {last}")
        if "refused" in answer:
            raise ConfigError(answer["refused"])
        return Composition(answer.get("config"), answer.get("unchecked", ""))

    def _all_overrides(self) -> list[str]:
        return [*(override(key, text) for key, text in self.place.items()), *self.overrides]
