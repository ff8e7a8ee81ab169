"""A run's settings over its starts: which of them are kept, which move a result, and where they have changed."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl_vip.config import objective_of
from verl_vip.errors import ConfigError
from verl_vip.records.records import RunHeader, RunRecords, read_run, records_path

#: Settings, and groups of them, that move no result: they name a run, say where its files lie, what it runs on, how
#: it is watched and saved, and how long it waits.
_INCIDENTAL = (
    "demo_dir",
    "global_profiler",
    "ray_kwargs",
    "trainer.checkpoint_callback_class",
    "trainer.default_hdfs_dir",
    "trainer.default_local_dir",
    "trainer.del_local_ckpt_after_load",
    "trainer.device",
    "trainer.esi_redundant_time",
    "trainer.experiment_name",
    "trainer.log_val_generations",
    "trainer.logger",
    "trainer.max_actor_ckpt_to_keep",
    "trainer.max_critic_ckpt_to_keep",
    "trainer.project_name",
    "trainer.ray_wait_register_center_timeout",
    "trainer.resume_from_path",
    "trainer.resume_mode",
    "trainer.rollout_data_dir",
    "trainer.save_freq",
    "trainer.test_freq",
    "trainer.val_before_train",
    "trainer.val_only",
    "trainer.validation_data_dir",
    "transfer_queue",
    "vip.cache_dir",
    "vip.embed_at_start",
    "vip.on_missing_state",
    "vip.poll_seconds",
)
#: How long a run is, which may grow.
LENGTH = ("trainer.total_training_steps", "trainer.total_epochs")
#: verl's mark of the newest complete checkpoint.
_MARK = "latest_checkpointed_iteration.txt"
_TOLD = 12
_LONGEST = 120


def is_incidental(key: str) -> bool:
    """Return whether a dotted setting moves no result."""
    return any(key == name or key.startswith(f"{name}.") for name in _INCIDENTAL)


def decisive_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's records keep of verl's resolved config: what is set and moves a result, by dotted name.

    `vip.objective` stands there as it was resolved, so that it is the same setting whether it was named or followed.
    """
    flat = flatten(config)
    estimator = flat.get("algorithm.adv_estimator")
    if "vip.objective" in flat and flat["vip.objective"] is None and isinstance(estimator, str):
        flat["vip.objective"] = objective_of(estimator)
    return {key: as_json(value) for key, value in flat.items() if value not in (None, {}) and not is_incidental(key)}


def require_same_settings(run: Path, config: Mapping[str, Any], step: int | None, last_step: int | None) -> None:
    """Refuse a start that would train nothing and yet has other settings than those that the run was trained with.

    verl resumes such a run behind its last step and ends well. A run that takes further steps may have others.

    Args:
        run: The run's folder, or its records.
        config: verl's whole config, resolved.
        step: The step of the checkpoint that verl resumes from; None for a fresh start.
        last_step: The step that verl ends with; None if unknown.

    Raises:
        ConfigError: If there are such settings; the message names them with their values then and now.
        InvalidInputError: If the records are damaged.
    """
    if step is None or last_step is None or step < last_step or config["trainer"].get("val_only"):
        return
    if not records_path(run).is_file():
        return
    records = read_run(run)
    trained = [header for header, taken in zip(records.step_headers, records.steps, strict=True) if taken.step <= step]
    if trained and (changes := _changes(trained[-1], decisive_config(config))):
        first = list(changes.items())[:_TOLD]
        told = [f"{_text(key)} was {_text(old)} and is {_text(new)} now" for key, (old, new) in first]
        more = [f"and {len(changes) - _TOLD} more"] if len(changes) > _TOLD else []
        raise ConfigError(
            f"the run in {records_path(run).parent} is finished (step {step} of {last_step}), with other settings: "
            f"{'; '.join([*told, *more])}. Start it with its own settings, start another run in another folder, or "
            "raise trainer.total_training_steps (or trainer.total_epochs) to train this one further."
        )


def require_unfinished_or_same(run: Path, config: Mapping[str, Any]) -> None:
    """Do as `require_same_settings` does, before verl is started.

    Args:
        run: The run's folder.
        config: verl's whole config, resolved.

    Raises:
        ConfigError: As `require_same_settings`.
        InvalidInputError: As `require_same_settings`.
    """
    trainer = config["trainer"]
    mark = run / _MARK
    text = mark.read_text(errors="replace").strip() if mark.is_file() else ""
    last_step = trainer.get("total_training_steps")
    if trainer.get("resume_mode") == "auto" and text.isdecimal() and isinstance(last_step, int):
        require_same_settings(run, config, int(text), last_step)


def shown_settings(run: RunRecords) -> dict[str, str]:
    """Return a run's chosen settings as text by dotted name.

    Every setting that changed on the way stands first, chosen or not, with the steps that each value held for.
    """
    chosen = _spans(run, lambda header: flatten(header.settings))
    every = _spans(run, lambda header: header.config)
    changed = {name: spans for name, spans in every.items() if len(spans) > 1}
    return _shown({**chosen, **changed})


def shown_versions(run: RunRecords) -> dict[str, str]:
    """Return the versions of packages as text by name, as `shown_settings` does."""
    return _shown(_spans(run, lambda header: header.versions))


@dataclass(frozen=True)
class _Span:
    """A value with the first and the last of the recorded steps that it held for."""

    value: Any
    first: int
    last: int


def _spans(run: RunRecords, of: Callable[[RunHeader], Mapping[str, Any] | None]) -> dict[str, list[_Span]]:
    """Return by name how a value went from start to start; nothing where a start lacks such values.

    Starts of which no step is left do not count, unless that is so of all.
    """
    taken: list[tuple[RunHeader, list[int]]] = []
    for header, record in zip(run.step_headers, run.steps, strict=True):
        if not taken or taken[-1][0] is not header:
            taken.append((header, []))
        taken[-1][1].append(record.step)
    taken = taken or [(run.headers[-1], [0])]
    values = [(found, steps) for header, steps in taken if (found := of(header)) is not None]
    if len(values) < len(taken):
        return {}
    spans: dict[str, list[_Span]] = {name: [] for found, _ in reversed(values) for name in found}
    for found, steps in values:
        for name, earlier in spans.items():
            value, first = found.get(name), steps[0]
            if earlier and _same(earlier[-1].value, value):
                first = earlier.pop().first
            earlier.append(_Span(value, first, steps[-1]))
    return spans


def _shown(spans: Mapping[str, Sequence[_Span]]) -> dict[str, str]:
    changed = {
        name: "; ".join(f"{_text(span.value)} ({_steps(span)})" for span in several)
        for name, several in spans.items()
        if len(several) > 1
    }
    return {**changed, **{name: _text(one[0].value) for name, one in spans.items() if len(one) == 1}}


def _steps(span: _Span) -> str:
    return f"step {span.first}" if span.first == span.last else f"steps {span.first} to {span.last}"


def _changes(header: RunHeader, now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what moves a result and differs, then and now, by dotted name; how long the run is does not count."""
    before = decisive_config(header.settings if header.config is None else header.config)
    # Records of older versions hold some settings only.
    names = before.keys() & now.keys() if header.config is None else before.keys() | now.keys()
    return {
        name: (before.get(name), now.get(name))
        for name in sorted(names - set(LENGTH))
        if not _same(before.get(name), now.get(name))
    }


def _same(one: Any, other: Any) -> bool:
    # To Python, True is 1.
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def as_json(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | None) else str(value)


def _text(value: Any) -> str:
    plain = isinstance(value, str) and value.isprintable()
    text: str = value if plain else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings with dotted names, as they are overridden on the command line."""
    return dict(_walk("", settings))


def _walk(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _walk(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value
