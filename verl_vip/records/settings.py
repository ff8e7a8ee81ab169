"""The settings of a run: which ones are recorded, which ones affect results, and how they changed between starts."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl_vip.config import objective_of
from verl_vip.errors import ConfigError
from verl_vip.records.records import RunHeader, RunRecords, read_run, records_path

#: Settings, and groups of settings, that do not affect results: a run's name, the places of its files, its hardware,
#: its logging and saving, and its waiting times.
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
#: The length of a run, which may be increased later.
LENGTH = ("trainer.total_training_steps", "trainer.total_epochs")
#: verl's file with the step of the newest complete checkpoint.
_MARK = "latest_checkpointed_iteration.txt"
_TOLD = 12
_LONGEST = 120


def is_incidental(key: str) -> bool:
    """Return whether a setting, by dotted name, does not affect results."""
    return any(key == name or key.startswith(f"{name}.") for name in _INCIDENTAL)


def decisive_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of verl's resolved config that are set and affect results, by dotted name.

    They are kept in a run's records. `vip.objective` is resolved, so that its default and the same explicit value are
    equal.
    """
    flat = flatten(config)
    estimator = flat.get("algorithm.adv_estimator")
    if "vip.objective" in flat and flat["vip.objective"] is None and isinstance(estimator, str):
        flat["vip.objective"] = objective_of(estimator)
    return {key: as_json(value) for key, value in flat.items() if value not in (None, {}) and not is_incidental(key)}


def require_same_settings(run: Path, config: Mapping[str, Any], step: int | None, last_step: int | None) -> None:
    """Refuse to start a finished run with settings that differ from those it was trained with.

    verl would resume such a run after its last step, train nothing and exit successfully. A run that takes further
    steps may have other settings.

    Args:
        run: The folder of the run, or its record file.
        config: verl's whole config, resolved.
        step: The step of the checkpoint that verl resumes from; None for a fresh start.
        last_step: The last training step; None if unknown.

    Raises:
        ConfigError: If settings differ. The message names them with their old and new values.
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
    """Apply `require_same_settings` before verl is started.

    Args:
        run: The folder of the run.
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
    """Return the important settings of a run as text, by dotted name.

    All settings that changed during the run come first, even those that are not important otherwise, with the steps
    of each value.
    """
    chosen = _spans(run, lambda header: flatten(header.settings))
    every = _spans(run, lambda header: header.config)
    changed = {name: spans for name, spans in every.items() if len(spans) > 1}
    return _shown({**chosen, **changed})


def shown_versions(run: RunRecords) -> dict[str, str]:
    """Return the versions of packages as text, by name; changes are shown as in `shown_settings`."""
    return _shown(_spans(run, lambda header: header.versions))


@dataclass(frozen=True)
class _Span:
    """A value with the first and last recorded step that were taken with it."""

    value: Any
    first: int
    last: int


def _spans(run: RunRecords, of: Callable[[RunHeader], Mapping[str, Any] | None]) -> dict[str, list[_Span]]:
    """Return the successive values of each setting over the starts, by name; nothing if a start lacks these settings.

    Starts without any remaining step are ignored, unless no start has one.
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
    """Return the old and new values of settings that affect results and differ, by dotted name, except the length."""
    before = decisive_config(header.settings if header.config is None else header.config)
    # Records of older versions have only some of the settings.
    names = before.keys() & now.keys() if header.config is None else before.keys() | now.keys()
    return {
        name: (before.get(name), now.get(name))
        for name in sorted(names - set(LENGTH))
        if not _same(before.get(name), now.get(name))
    }


def _same(one: Any, other: Any) -> bool:
    # In Python, True equals 1.
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def as_json(value: Any) -> Any:
    """Convert a value to one that JSON can express."""
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
    """Flatten nested settings to dotted names, as in overrides on the command line."""
    return dict(_walk("", settings))


def _walk(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _walk(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value
