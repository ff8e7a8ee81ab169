"""Write the pages that are generated from the code and from result files.

    python docs/generate.py            # write them: the keys of PAGES, and tables in docs/workflows.md and README.md
    python docs/generate.py --check    # exit with 1 if one of them is out of date

`make docs` runs the first command.
"""

import ast
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ascended import ascended_section
from learning import coverage_section, learning_section
from real_records import (
    REAL_RUN_ROWS,
    covariates_section,
    forecast_section,
    new_prompts_section,
    real_run_cells,
    real_run_section,
    worlds_section,
)
from tables import percent, table

import verl_vip.config
from verl_vip.annotations import describe, description
from verl_vip.by_name import locate
from verl_vip.config import VipConfig
from verl_vip.flows.parameters import (
    EvaluationParameters,
    FollowingParameters,
    JobParameters,
    SweepParameters,
    TrainingParameters,
)
from verl_vip.prediction.registry import PREDICTORS
from verl_vip.strategies.registry import FIXED, STRATEGIES

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "benchmarks" / "results"
#: What a training run refuses.
_ONLY_SIMULATED = {
    "oracle": " It needs the true success probabilities: only `verl-vip simulate` takes it, and training refuses it."
}
_NOTE = "<!-- Written by docs/generate.py; do not edit. -->\n\n"


def settings_page() -> str:
    """Return the page of the `vip` group, from the attributes of `VipConfig` and their docstrings."""
    texts = _attribute_texts(verl_vip.config, "VipConfig")
    parts = [
        "# Settings\n\nEach is a key of the `vip` group: `vip.upper=64` on the command line overrides it. "
        "Unknown keys and wrong values are refused before anything is started.\n\n"
        "The keys below are all in the presets and take no `+`. Hydra wants a `+` before a new entry of a mapping: "
        "`'+vip.reward_range_by_source={openai/gsm8k:[0,1]}'`, or `+vip.strategy_settings.exponent=2` unless the "
        "preset sets it (`++` does for both cases). If Hydra answers a typo such as `vip.uper=64` with the advice to "
        "use `+vip.uper=64`, correct the name instead.\n"
    ]
    for entry in fields(VipConfig):
        value = getattr(VipConfig(), entry.name)
        shown = json.dumps(list(value) if isinstance(value, tuple) else dict(value) if value == {} else value)
        parts.append(
            f"\n## `{entry.name}`\n\nDefault `{shown}`; takes {describe(entry.type)}.\n\n{texts[entry.name]}\n"
        )
    return _NOTE + "".join(parts)


def strategies_page() -> str:
    """Return the page of all registered strategies and predictors, with their descriptions and settings."""
    parts = [
        "# Strategies and predictors\n\n"
        "`vip.strategy` names a strategy, and `vip.strategy_settings` its arguments; `vip.predictor` and "
        "`vip.predictor_settings` likewise. Arguments that a run fixes by itself, such as the objective, are left out."
        "\n"
    ]
    for kind, registry in (("strategy", STRATEGIES), ("predictor", PREDICTORS)):
        heading = {"strategy": "Strategies", "predictor": "Predictors"}[kind]
        rows = [[f"[`{name}`](#{_anchor(kind, name)})", _summary(kind, name, registry)] for name in sorted(registry)]
        parts += [f"\n## {heading}\n", table([kind, "what it does"], rows)]
        parts += [_entry(kind, name, registry) for name in sorted(registry)]
    return _NOTE + "".join([*parts, ascended_section()])


def benchmarks_page() -> str:
    """Return the page of the figures in `benchmarks/results`, with the command that makes each."""
    return _NOTE + "".join(
        [
            "# Benchmarks\n\nEvery figure here is read from a file that a script of `benchmarks/` wrote. Intervals are "
            "95\N{NO-BREAK SPACE}%.\n",
            _allocation(_read("allocation")),
            real_run_section(_read("real_records")),
            new_prompts_section(json.loads((RESULTS / "real_records" / "new_prompts.json").read_text())),
            forecast_section(json.loads((RESULTS / "real_records" / "forecast.json").read_text())),
            worlds_section(json.loads((RESULTS / "real_records" / "worlds.json").read_text())),
            covariates_section(json.loads((RESULTS / "real_records" / "covariates.json").read_text())),
            _traces(_read("prediction_on_traces")),
            _cost(_read("prediction_cost")),
            _simulation(_read("simulation")),
            learning_section(),
            coverage_section(_read("ratio_intervals")),
        ]
    )


def readme() -> str:
    """Return the README with an updated table of figures."""
    return _with_part("README.md", "figures", _figures())


def workflows_page() -> str:
    """Return the page of the flows with an updated table of their parameters."""
    users = {
        JobParameters: "all",
        TrainingParameters: "`train`, `pipeline`, `sweep`",
        EvaluationParameters: "`evaluate`, `pipeline`",
        FollowingParameters: "`evaluate`",
        SweepParameters: "`sweep`",
    }
    rows = []
    for kind, flows in users.items():
        for entry in (one for one in fields(kind) if one.name in inspect.get_annotations(kind)):
            default = entry.default if entry.default_factory is MISSING else entry.default_factory()
            shown = "" if default is MISSING else f"`{json.dumps(default)}`"
            rows.append([f"`{entry.name}`", flows, shown, description(entry.type)])
    return _with_part("docs/workflows.md", "parameters", table(["parameter", "flows", "default", "what it is"], rows))


def _with_part(name: str, part: str, text: str) -> str:
    """Return a page of the repository in which a generated part is replaced."""
    begin, end = f"<!-- {part}, written by docs/generate.py -->", f"<!-- end of {part} -->"
    before, _, rest = (HERE.parent / name).read_text().partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{text}{end}{after}"


PAGES: Mapping[str, Callable[[], str]] = {
    "docs/settings.md": settings_page,
    "docs/strategies.md": strategies_page,
    "docs/benchmarks.md": benchmarks_page,
    "docs/workflows.md": workflows_page,
    "README.md": readme,
}


def main(arguments: list[str]) -> int:
    """Write or check the pages, and return the exit status."""
    stale = []
    for name, page in PAGES.items():
        path, text = HERE.parent / name, page()
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if "--check" not in arguments:
                path.write_text(text)
    if stale and "--check" in arguments:
        print(f"out of date: {', '.join(stale)}; run python docs/generate.py", file=sys.stderr)
        return 1
    return 0


def _attribute_texts(module: Any, name: str) -> dict[str, str]:
    tree = ast.parse(inspect.getsource(module))
    (node,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    texts: dict[str, str] = {}
    for attribute, text in zip(node.body, node.body[1:], strict=False):
        match attribute, text:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(words))):
                texts[key] = inspect.cleandoc(words)
    return texts


def _anchor(kind: str, name: str) -> str:
    # MkDocs numbers a repeated heading.
    return f"{name}_1" if kind == "predictor" and name in STRATEGIES else name


def _summary(kind: str, name: str, registry: Mapping[str, str]) -> str:
    """Return a one-line description of a strategy or predictor."""
    if kind == "strategy" and (fixed := FIXED.get(name)):
        (other,) = (one for one, place in registry.items() if place == registry[name] and one not in FIXED)
        settings = " and ".join(f"`{key}={value!r}`" for key, value in fixed.items())
        return f"The same as [`{other}`](#{other}), always with {settings}.{_ONLY_SIMULATED.get(name, '')}"
    return _first_line(locate(kind, name, registry))


def _first_line(constructor: Any) -> str:
    module = inspect.getmodule(constructor)
    return inspect.cleandoc((module and module.__doc__) or "").partition("\n\n")[0].replace("\n", " ")


def _entry(kind: str, name: str, registry: Mapping[str, str]) -> str:
    if kind == "strategy" and name in FIXED:
        return f"\n### `{name}`\n\n{_summary(kind, name, registry)}\n"
    constructor = locate(kind, name, registry)
    text = inspect.cleandoc(constructor.__doc__ or "")
    body, _, arguments = text.partition("\nArgs:\n")
    settings = [
        f"- `{argument.name}` (default `{argument.default!r}`, {describe(argument.annotation)})"
        for argument in inspect.signature(constructor).parameters.values()
        if argument.default is not argument.empty and argument.name != "objective"
    ]
    described = {
        match[1]: " ".join(match[2].split())
        for match in re.finditer(r"^    (\w+): (.*?)(?=^    \w+: |\Z|\n\n)", arguments, flags=re.MULTILINE | re.DOTALL)
    }
    lines = []
    for line in settings:
        setting = line.split("`")[1]
        lines.append(f"{line}: {described[setting]}" if setting in described else line)
    listed = "\n".join(lines)
    return f"\n### `{name}`\n\n*{_first_line(constructor)}*\n\n{body.strip()}\n" + (f"\n{listed}\n" if lines else "")


def _read(name: str) -> Any:
    return json.loads((RESULTS / name / "results.json").read_text())


def _figures() -> str:
    regimes = _read("prediction_on_traces")["sources"]["verl"]["regimes"]
    known, new = (regimes[regime] for regime in ("later", "first visits"))
    exact = _read("allocation")["rloo"]["512"]
    cost = _read("prediction_cost")
    step, paper = (
        next(row["step"] for name, row in cost["ms"].items() if name.startswith(start))
        for start in ("drifting_gp", "paper's")
    )
    real = [[what, *real_run_cells(_read("real_records"), era)] for what, era in REAL_RUN_ROWS]
    left = [
        [what, _share_left(scores["drifting_gp"]), f"equal counts; a Beta table leaves {_left(scores['beta_table'])} %"]
        for what, scores in (("the same in the demo, prompts seen before", known), ("in the demo, new prompts", new))
    ]
    return table(
        ["what", "how much", "against"],
        [
            *real,
            *left,
            [
                "exact counts for 512 prompts and 8,192 rollouts",
                f"{1000 * exact['exact']['seconds']['median']:.1f} ms",
                f"SciPy's SLSQP takes {round(exact['slsqp']['times_exact']['median'], -3):,.0f} times as long",
            ],
            [
                f"predicting for and learning from {cost['batch']} prompts of a pool of 17,398",
                f"{step:.0f} ms a step",
                f"the paper's process takes {paper:.0f} ms on the same machine",
            ],
        ],
    ).lstrip("\n")


def _left(scores: Any) -> str:
    return f"{100 * scores['variance_left']:.1f}"


def _share_left(scores: Any) -> str:
    low, high = scores["variance_left_interval"]
    return f"{_left(scores)}\N{NO-BREAK SPACE}% [{100 * low:.0f},\N{NO-BREAK SPACE}{100 * high:.0f}]"


def _allocation(result: Any) -> str:
    rows = []
    for name, title in (("rloo", "RLOO"), ("dr_grpo", "Dr.GRPO")):
        for size in ("512", "32768", "1000000"):
            row = result[name][size]
            slsqp = f"{row['slsqp']['times_exact']['median']:,.0f}" if "slsqp" in row else "not tried"
            rows.append(
                [
                    title,
                    f"{int(size):,}",
                    f"{1000 * row['exact']['seconds']['median']:.1f} ms",
                    slsqp,
                    f"+{percent(row['uniform']['excess']['median'])}",
                ]
            )
    return (
        "\n## Exact counts\n\n`python benchmarks/allocation.py`. Success probabilities are known and drawn from "
        f"Beta(0.5, 0.9); 16 rollouts a prompt on average, 4 to 64 each; medians of {result['setting']['seeds']} draws "
        "on one thread. The last column is what equal counts cost where p is known; predictions gain less.\n"
        + table(
            ["variance of", "prompts", "exact counts", "SciPy's SLSQP: times as long", "equal counts' variance"], rows
        )
    )


def _traces(result: Any) -> str:
    names = {"drifting_gp": "`drifting_gp` (default)", "beta_table": "`beta_table`", "last_seen": "`last_seen`"}
    names["paper's GP"] = "the paper's Gaussian process"
    parts = [
        "\n## Predictors on recorded training\n\n`python benchmarks/prediction_on_traces.py`. Recordings of the demo's "
        "training, replayed. Variance left is that of counts made from the predictions, as a share of equal counts'. "
        "The log loss is in brackets; lower is better for both.\n"
    ]
    for source, found in result["sources"].items():
        rows = []
        for name, title in names.items():
            of_both = (found["regimes"][regime][name] for regime in ("first visits", "later"))
            rows.append([title, *(f"{_share_left(scores)} ({scores['log_loss']:.3f})" for scores in of_both)])
        parts += [f"\n### Recorded with {source}\n", table(["predictor", "new prompts", "prompts seen before"], rows)]
    return "".join(parts)


def _cost(result: Any) -> str:
    rows = [[name, f"{row['step']:.0f} ms", f"{row['worst']:.0f} ms"] for name, row in result["ms"].items()]
    return (
        f"\n## What a step's predictions cost\n\n`python benchmarks/prediction_cost.py --threads {result['threads']}`. "
        f"Predicting for and learning from {result['batch']} prompts. The worst step refits the hyper-parameters.\n"
        + table(["predictor and pool", "a step", "the worst step"], rows)
    )


def _simulation(result: Any) -> str:
    rows = []
    for arm in result["arms"]:
        share, above = arm["measures"]["attainable_share"], arm["measures"]["above_uniform"]
        rows.append(
            [
                f"`{arm['label']}`",
                "" if share is None else f"{percent(share['mean'])} ± {100 * share['half_width']:.0f}",
                "" if above is None else f"{100 * above['mean']:+.2f} ± {100 * above['half_width']:.2f}",
            ]
        )
    return (
        f"\n## Strategies on simulated prompts\n\n`python benchmarks/simulation.py`, {result['seeds']} seeds. The "
        "share is of the variance reduction that known success probabilities would give; it is left out where a "
        "strategy does not serve every prompt. Success is the mean over the run, against equal counts, in points. "
        "Prompts and learner are simulated; there is no language model.\n"
        + table(["strategy", "share of attainable", "success"], rows)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
