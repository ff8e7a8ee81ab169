"""Starts verl's trainer as a job on this machine and shows its progress."""

import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from verl_vip.errors import ConfigError
from verl_vip.execution import Job, JobState, LocalExecutor, follow, is_complete, mark_complete
from verl_vip.execution.files import LOG_FILE
from verl_vip.recipes.run import RecipeRun
from verl_vip.records.follower import RunNews
from verl_vip.records.records import RECORDS_FILE
from verl_vip.records.settings import require_unfinished_or_same

_LOG_LINES_ON_FAILURE = 25
_SIGN_OF_LIFE_S = 15
_ENVIRONMENT = {
    "VERL_PLATFORM": "cpu",
    "HF_HUB_OFFLINE": "1",
    # Ray would lower the priority of its workers.
    "RAY_worker_niceness": "0",
}


class Training:
    """One run of the demo recipe.

    Args:
        folder: The folder with `data/`, `model/` and one folder for each run.
        overrides: Hydra overrides of the recipe.

    Attributes:
        run_folder: The folder of verl's checkpoints and verl-vip's records.
        log_path: The log with all of verl's output.

    Raises:
        ConfigError: If an override is wrong, or the run is finished and was trained with other settings.
    """

    def __init__(self, folder: Path, overrides: list[str]) -> None:
        self._folder = folder
        self._recipe_run = RecipeRun("demo", {"demo_dir": str(folder)}, overrides, sys.executable, _ENVIRONMENT)
        composed = self._recipe_run.compose()
        if composed.config is None:
            raise ConfigError(f"the demo cannot start: {composed.unchecked}.")
        self.run_folder = Path(composed.config["trainer"]["default_local_dir"]).resolve()
        require_unfinished_or_same(self.run_folder, composed.config)
        self.log_path = self.run_folder / LOG_FILE
        self._last_lines: deque[str] = deque(maxlen=_LOG_LINES_ON_FAILURE)
        self._last_sign = self._began = time.monotonic()

    def job(self) -> Job:
        """Return verl's command as a job."""
        return self._recipe_run.job(self.run_folder.name, self.run_folder)

    def comparable_runs(self) -> list[Path]:
        """Return this run, followed by every other run beside it, started or finished."""
        others = sorted(path.parent for path in self._folder.glob(f"*/{RECORDS_FILE}"))
        return [self.run_folder, *(path for path in others if path != self.run_folder)]

    def run(self) -> int:
        """Train until verl ends, and return 0 if it succeeded.

        An interrupt or SIGTERM stops verl. After SIGKILL, verl keeps running, and the next call attaches to it.

        Raises:
            ConfigError: If this run is already live with other overrides.
            JobError: If the job cannot be started.
        """
        job, executor = self.job(), LocalExecutor()
        if is_complete(self.run_folder, job.fingerprint):
            print(f"this run is complete; remove {self.run_folder} to train again", flush=True)
            return 0
        news = RunNews(self.run_folder)
        with _terminated_as_interrupted():
            try:
                executor.start(job)
                print("starting Ray, verl and vLLM (about a minute)", flush=True)
                status = follow(executor, job, self._last_lines.append, lambda: self._show(news), poll_s=0.5)
            except KeyboardInterrupt:
                executor.stop(job)
                raise
        if status.state is JobState.SUCCEEDED:
            mark_complete(self.run_folder, job.fingerprint)
            return 0
        print("\n".join(self._last_lines), file=sys.stderr)
        print(f"verl {status.message or status.state}; the full log is {self.log_path}", file=sys.stderr)
        return 1

    def _show(self, news: RunNews) -> None:
        lines, now = news.poll(), time.monotonic()
        if lines or now - self._last_sign > _SIGN_OF_LIFE_S:
            self._last_sign = now
            print("\n".join(lines) or f"... {now - self._began:.0f} s ({self.log_path})", flush=True)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Make SIGTERM end the demo as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
