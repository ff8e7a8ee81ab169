"""The `sweep` flow: budgets x strategies x seeds, as a grid or chosen by BoTorch; each trial runs once."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.futures import PrefectFuture
from prefect.logging.loggers import flow_run_logger
from prefect.task_runners import ThreadPoolTaskRunner

from verl_vip.durable_files import replace_json
from verl_vip.errors import ConfigError, InvalidInputError, JobError, StateError, VerlVipError
from verl_vip.execution import fingerprint
from verl_vip.execution.exclusive import exclusive
from verl_vip.flows.artifacts import show_picture, show_progress, show_table, slug
from verl_vip.flows.parameters import Search, SweepParameters, TrainingParameters, described_by, from_parameters
from verl_vip.flows.search import PROPOSALS
from verl_vip.flows.sweep_report import write_sweep_page, write_sweep_report
from verl_vip.flows.sweep_space import Design, Measurement, SweepPlan, Trial, measure, points
from verl_vip.flows.train import attempt_training
from verl_vip.flows.training_run import TrainingRun

STATE_FILE = "sweep.json"
_LOOK_S = 0.5
_STOP_S = 60.0


def stop_trials(flow: "Flow[Any, Any]", flow_run: FlowRun, state: State) -> None:
    """Stop the jobs of all trials when the sweep is cancelled or crashes (a Prefect hook)."""
    logger = flow_run_logger(flow_run, flow)
    try:
        base = from_parameters(TrainingRun, flow_run.parameters)
        executor = base.executor()
        for trial in SweepState.read(base).trials():
            executor.stop(trial.run(base).job())
    except VerlVipError as error:
        logger.error("the sweep is %s, but jobs may still be running: %s", state.name, error)


@flow(
    name="verl-vip-sweep",
    flow_run_name="sweep {name}",
    on_cancellation=[stop_trials],
    on_crashed=[stop_trials],
    task_runner=ThreadPoolTaskRunner(max_workers=64),  # type: ignore[arg-type] # `concurrency` is the limit
)
@described_by(TrainingParameters, SweepParameters)
def sweep(
    recipe: str,
    name: str,
    root: str,
    strategies: Sequence[str] = SweepParameters.strategies,
    budgets: Sequence[int] = SweepParameters.budgets,
    seeds: int = SweepParameters.seeds,
    overrides: list[str] | None = None,
    search: Search = SweepParameters.search,
    designs: int | None = SweepParameters.designs,
    concurrency: int = SweepParameters.concurrency,
    cluster: str | None = None,
    environment: dict[str, str] | None = None,
    python: str | None = None,
    retries: int = TrainingParameters.retries,
) -> str:
    """Train every chosen design once with every seed, and report the Pareto front.

    Paths must be absolute, because other processes read them.

    Returns:
        The path of the report; the table and the picture of the Pareto front are beside it.

    Raises:
        ConfigError: If a parameter is wrong, another flow drives this sweep, or it was started with another recipe
            or overrides.
        JobError: If a trial failed, after all others have run.
    """
    base = TrainingRun(
        recipe=recipe,
        name=name,
        root=root,
        overrides=overrides or (),
        cluster=cluster,
        environment=environment or {},
        python=python,
        retries=retries,
    )
    plan = SweepPlan(strategies, budgets, seeds, search, designs, concurrency, overrides or ())
    if unchecked := plan.check(base):
        get_run_logger().info("%s", unchecked)
    with exclusive(base.folder / ".sweep.lock", f"the sweep in {base.folder}"):
        drive = _Drive(base, plan, SweepState.read(base))
        try:
            drive.run()
        except BaseException as error:
            if not isinstance(error, Exception):  # the process is asked to end
                drive.stop()
            raise
        show_sweep(base, drive.measured)
        if drive.measured:
            write_sweep_page(base.folder, [trial.run(base).folder for trial in drive.measured])
    if drive.failed:
        listed = "; ".join(f"{trial.run(base).name}: {why}" for trial, why in drive.failed.items())
        raise JobError(f"{len(drive.failed)} of {len(drive.failed) + len(drive.measured)} trials failed: {listed}")
    return str(base.folder / "report.html")


@dataclass
class SweepState:
    """The designs that a sweep has chosen, in order. Each is on disk before its first trial starts.

    Attributes:
        base: The run whose recipe and overrides all trials share.
        chosen: Designs with their number of seeds.
    """

    base: TrainingRun
    chosen: dict[Design, int] = field(default_factory=dict)

    @classmethod
    def read(cls, base: TrainingRun) -> "SweepState":
        """Read the state in the sweep's folder; it is empty before the first design.

        Raises:
            ConfigError: If the sweep was started with another recipe, overrides or environment.
            StateError: If the file is damaged.
        """
        file = base.folder / STATE_FILE
        if not file.exists():
            return cls(base)
        try:
            state = json.loads(file.read_text())
            chosen = {Design(one["strategy"], one["budget"]): one["seeds"] for one in state["designs"]}
            same = state["fingerprint"] == _shared(base)
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"{file} is damaged ({error!r}); remove it, and the finished trials will be found again."
            ) from error
        if not same:
            raise ConfigError(
                f"sweep {base.name} was started with another recipe or other overrides; choose another name."
            )
        return cls(base, chosen)

    def choose(self, design: Design, seeds: int) -> None:
        """Add a design, or seeds of a chosen design, and save the state."""
        self.chosen[design] = max(seeds, self.chosen.get(design, 0))
        entries = [{**asdict(one), "seeds": count} for one, count in self.chosen.items()]
        self.base.folder.mkdir(parents=True, exist_ok=True)
        replace_json(self.base.folder / STATE_FILE, {"fingerprint": _shared(self.base), "designs": entries})

    def trials(self) -> list[Trial]:
        """Return the trials of all chosen designs, in the order of choice."""
        return [Trial(design, seed) for design, count in self.chosen.items() for seed in range(1, count + 1)]


@dataclass
class _Drive:
    """Runs the trials of a sweep until all are done."""

    base: TrainingRun
    plan: SweepPlan
    state: SweepState
    measured: dict[Trial, Measurement] = field(default_factory=dict)
    failed: dict[Trial, str] = field(default_factory=dict)
    running: dict[Trial, "PrefectFuture[None] | None"] = field(default_factory=dict)  # None before it is submitted
    bar: UUID | None = None

    def run(self) -> None:
        """Keep `concurrency` trials running, and choose designs when they are needed."""
        while True:
            while len(self.running) < self.plan.concurrency and (trial := self._next()) is not None:
                task = attempt_training.with_options(retries=self.base.retries)
                self.running[trial] = None  # a stop that comes meanwhile must know of it
                self.running[trial] = task.submit(trial.run(self.base), shown=False)
            if not self.running:
                return
            time.sleep(_LOOK_S)
            for trial, future in list(self.running.items()):
                if future is not None and future.state.is_final():
                    del self.running[trial]
                    self._finish(trial, future.state)

    def stop(self) -> None:
        """Stop the jobs of all trials that are running, and of those whose jobs are about to start."""
        executor = self.base.executor()
        deadline = time.monotonic() + _STOP_S
        while self.running and time.monotonic() < deadline:
            for trial in self.running:
                executor.stop(trial.run(self.base).job())
            time.sleep(_LOOK_S)
            self.running = {
                trial: future for trial, future in self.running.items() if future is None or not future.state.is_final()
            }

    def _next(self) -> Trial | None:
        known = self.measured.keys() | self.failed.keys() | self.running.keys()
        for design in [design for design in self.state.chosen if design in self.plan.grid]:
            for trial in (Trial(design, seed) for seed in range(1, self.plan.seeds + 1)):
                if trial not in known:
                    self.state.choose(design, self.plan.seeds)
                    return trial
        tried = [design for design in self.plan.grid if design in self.state.chosen]
        candidates = [design for design in self.plan.grid if design not in self.state.chosen]
        if len(tried) >= self.plan.wanted or not candidates:
            return None
        seen = points(self.measured)
        finished = {point.design for point in seen}
        pending = [design for design in tried if design not in finished]
        design = PROPOSALS[self.plan.search](candidates, seen, pending, len(tried))
        self.state.choose(design, self.plan.seeds)
        return Trial(design, 1)

    def _finish(self, trial: Trial, state: State) -> None:
        logger = get_run_logger()
        try:
            if not state.is_completed():
                raise JobError(state.message or state.name)
            self.measured[trial] = measure(trial.run(self.base))
        except VerlVipError as error:
            self.failed[trial] = str(error)
            logger.error("%s failed: %s", trial.run(self.base).name, error)
        else:
            one = self.measured[trial]
            logger.info("%s: accuracy %.3f", trial.run(self.base).name, one.accuracy)
            show_sweep(self.base, self.measured)
        done, total = len(self.measured), self.plan.wanted * self.plan.seeds
        text = f"{self.base.name}: {done} of {total} trials" + (f", {len(self.failed)} failed" if self.failed else "")
        self.bar = show_progress(self.bar, f"progress-{slug(self.base.name)}", 100 * done / total, text)


def show_sweep(base: TrainingRun, trials: Iterable[Trial]) -> None:
    """Write and show the table and the picture of the finished trials. Unreadable trials are left out and named."""
    folders = {trial: trial.run(base).folder for trial in trials}
    if not folders:
        return
    try:
        report = write_sweep_report(base.folder, folders)
    except InvalidInputError as error:
        get_run_logger().warning("no trial can be shown: %s", error)
        return
    for sentence in report.left_out:
        get_run_logger().warning("%s", sentence)
    key = slug(base.name)
    show_table(f"pareto-{key}", report.rows, f"Sweep {base.name}; in brackets 95 % intervals over seeds")
    show_picture(f"pareto-{key}-picture", report.picture, f"Sweep {base.name}: accuracy against rollouts")


def _shared(base: TrainingRun) -> str:
    return fingerprint([base.recipe, list(base.overrides), dict(base.environment)])
