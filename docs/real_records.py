"""The sections of the benchmarks page on public records of real models."""

from typing import Any

from tables import estimated, estimated_value, percent, table

_ERAS = {"1-9": "first epoch (steps 1-9)", "10-19": "second (10-19)", "20-95": "steps 20-95", "96-500": "steps 96-500"}
_LATE = "20-500"
_TITLES = {
    "drifting_gp": "`drifting_gp` (default)",
    "beta_table": "`beta_table`",
    "beta_table, best setting": "`beta_table`, best setting",
    "last_seen": "`last_seen`",
    "moving_average": "`moving_average`",
    "ridge": "`ridge`",
    "gaussian_process": "the paper's process, defaults",
    "gaussian_process, best setting": "the paper's process, best setting",
    "hindsight": "hindsight",
}
#: What is measured with new prompts only.
_WITH_STATISTICS = {"drifting_gp, text statistics": "`drifting_gp` with text length and number of digits"}

#: The rows of the README's table, and the steps that they are about.
REAL_RUN_ROWS = (
    ("gradient variance left by counts from predictions on a real GRPO run, from the third epoch on", _LATE),
    ("the same, in its first epoch", "1-9"),
)


def real_run_cells(result: Any, era: str) -> list[str]:
    """Return the last two cells of a row of the README's table."""
    own, table_, tuned, best = (
        result["eras"][era][name]["variance_left_rloo"]
        for name in ("drifting_gp", "beta_table", "beta_table, best setting", "hindsight")
    )
    return [
        estimated(own),
        f"equal counts; a Beta table leaves {estimated_value(table_)}, tuned to this run {estimated_value(tuned)}, "
        f"hindsight {estimated_value(best)}",
    ]


def real_run_section(result: Any) -> str:
    """Return the section on the recorded run: variance left by epoch, scores from the third epoch on, choices."""
    eras, setting, tuning = result["eras"], result["setting"], result["tuning"]
    best = " and ".join(
        f"`{name}` with {', '.join(f'`{key}={value!r}`' for key, value in found['best'].items()) or 'its defaults'}, "
        f"of {len(found['trials'])} settings"
        for name, found in tuning.items()
    )
    apart = max(
        scores["placements"][1] - scores["placements"][0]
        for scores in (eras[_LATE][name]["variance_left_rloo"] for name in _TITLES)
    )
    text = (
        "\n## Predictors on a real model's run\n\n`python -m benchmarks.real_records --data DIR`. The public record of "
        f"a GRPO run of Qwen2.5-Math-1.5B in verl, replayed: {setting['prompts']:,} prompts, {setting['visits']:,} "
        f"groups of {setting['rollouts']} rollouts, {setting['steps']} steps of {setting['batch']} prompts. It is one "
        "run with one seed. `benchmarks/real_records/record.py` says where its files are, and what is known about "
        "them.\n\n"
        "Variance left is RLOO's with the allocator's counts, 3 to 32 for a prompt, relative to equal counts. "
        "Hindsight averages the eight visits before and the eight after; its reduction is called attainable. The steps "
        f"of the visits are not recorded, so that figures are means over {setting['placements']} placements, which "
        f"differ by at most {percent(apart, 1)} from step 20 on. Intervals are over prompts. The "
        "best settings were chosen on another placement of the same run, which favours "
        f"them: {best}. `drifting_gp` has its defaults.\n"
    )
    left = [
        [title, *(estimated(eras[era][name]["variance_left_rloo"]) for era in (*_ERAS, _LATE))]
        for name, title in _rows()
    ]
    share = [
        [_TITLES[name], *(estimated(eras[era][name]["share_rloo"], 0) for era in (*_ERAS, _LATE))]
        for name in ("drifting_gp", "beta_table", "beta_table, best setting")
    ]
    return (
        text
        + table(["variance left", *_ERAS.values(), "steps 20-500"], left)
        + table(["share of the attainable", *_ERAS.values(), "steps 20-500"], share)
        + _late_scores(eras[_LATE])
        + _served(result["served"])
    )


def new_prompts_section(result: Any) -> str:
    """Return the section on one epoch over prompts that are all new."""
    scores, correlations = result["eras"]["all"], result["rank_correlation_with_the_rate"]
    rows = [
        [
            "the true rate" if name == "hindsight" else title,
            f"{correlations[name]:.2f}" if name in correlations else "",
            estimated(scores[name]["variance_left_rloo"]),
            f"{scores[name]['top_signal']['value']:.2f}",
            estimated_value(scores[name]["moved"]),
        ]
        for name, title in [*_rows(), *_WITH_STATISTICS.items()]
        if name in scores
    ]
    return (
        "\n## New prompts, from their text alone\n\n`python -m benchmarks.real_records --data DIR new_prompts`. One "
        f"epoch over {result['prompts']:,} mathematics prompts in steps of {result['batch']}, each served once, with 8 "
        "rollouts drawn from its success rate in 128 rollouts of Qwen2.5-Math-7B. The policy does not change. "
        "The last column is the share of rollouts that the counts move from one prompt to another.\n"
        + table(["predictor", "rank correlation with the rate", "variance left", "top signal", "moved"], rows)
    )


def forecast_section(result: Any) -> str:
    """Return the section on the forecast from the first two epochs and on what came of it."""
    forecast, later = result["forecast"], result["previous_two"]
    gains = {gain["visits"]: gain for gain in forecast["gains"]}
    few = result["few_of_many"]
    rows = [
        ["prompts that can teach", estimated(forecast["teaches"], 0), estimated(result["teaches"], 0), ""],
        [
            "variance left, two groups of a prompt known",
            estimated(gains[2]["variance_left"]),
            *(estimated(later[name]["variance_left"]) for name in ("soon", "rest")),
        ],
        [
            "signal of the best quarter, two groups known",
            _times(gains[2]["top_signal"]),
            *(_times(later[name]["top_signal"]) for name in ("soon", "rest")),
        ],
    ]
    return (
        "\n## A forecast, and what came of it\n\n`python -m benchmarks.real_records --data DIR forecast`. What "
        "`verl-vip forecast` says of the first two visits to each prompt of the run, 16 rollouts, and what the later "
        "visits show. A prompt can teach if its success probability lies between 5 % and 95 %; the share later is "
        "estimated from the 64 rollouts of visits 3 to 10. The other rows predict each visit from the two before it "
        "alone. Intervals of the forecast are 95 % profile likelihood intervals.\n"
        + table(["", "forecast", "visits 3 to 10", "all later visits"], rows)
        + f"\nOf the {few['prompts']:,} prompts of the second record, "
        f"{estimated(few['all'], 0)} can teach by all their 128 rollouts, {estimated(few['8'], 0)} by 8 of them, and "
        f"{estimated(few['2'], 0)} by 2. Few rollouts of each prompt leave much open, and the interval says so.\n"
    )


def _times(estimate: Any) -> str:
    low, high = estimate["interval"]
    return f"{estimate['value']:.2f} [{low:.2f},\N{NO-BREAK SPACE}{high:.2f}]"


def worlds_section(result: Any) -> str:
    """Return the section on the simulated worlds made of the records."""
    titles = {"trajectories": _ERAS | {_LATE: "steps 20-500"}, "difficulties": None}
    text = (
        "\n## Predictors in worlds made of the records\n\n`python -m benchmarks.real_records --data DIR worlds "
        f"--placements {result['seeds']}`, {result['seeds']} seeds. Here the true success rates are known. "
        "The share is the part of RLOO's variance reduction, from even counts to the best counts at the true rates, "
        "that counts by prediction achieve; the predictors learn from rollouts of these counts. A Beta table is named "
        "by its decay and prior strength.\n\n"
        "The 1,209 prompts of the run above, at its success rates, smoothed over about eight visits:\n"
    )
    parts = []
    for world, eras in titles.items():
        found = result[world]
        shown = eras or {era: era for era in next(iter(found.values()))}
        rows = [
            [_world_title(name), *(f"{percent(shares[era]['mean'], 0)}" for era in shown)]
            for name, shares in found.items()
        ]
        parts.append(table(["share of the attainable", *shown.values()], rows))
    between = (
        "\nA simulated policy that learns, on prompts that start with the success rates of 21,036 mathematics prompts "
        "(Qwen2.5-Math-7B), each visited 24 times:\n"
    )
    return text + parts[0] + between + parts[1]


def _world_title(name: str) -> str:
    predictor, comma, settings = name.partition(",")
    return f"`{predictor}`{comma}{settings}{', the default' if settings == ' 0.5, 2.0' else ''}"


def covariates_section(result: Any) -> str:
    """Return the section on covariates: the recorded run with and without them, and what useless ones cost."""
    titles = {"drifting_gp": "none", "rate": "the 7B rate", "noise": f"{result['noise']} columns of noise"}
    titles |= {"rate, noise": f"the rate and {result['noise']} columns of noise", "hindsight": "hindsight"}
    eras = {"1": "first epoch", "2": "second", "3": "third"}
    rated, whole = result["rated"], result["whole"]
    known = [
        [
            titles[name],
            *(estimated(rated["eras"][era][name]["variance_left_rloo"]) for era in eras),
            f"{rated['eras']['1, after its first step'][name]['top_signal']['value']:.2f}",
        ]
        for name in ("drifting_gp", "rate", "noise", "rate, noise", "hindsight")
    ]
    all_prompts = [
        [titles[name], *(estimated(whole["eras"][era][name]["variance_left_rloo"]) for era in eras)]
        for name in ("drifting_gp", "rate", "hindsight")
    ]
    return (
        "\n## Covariates: what is known beforehand\n\n`python -m benchmarks.real_records --data DIR covariates`. The "
        f"recorded run, with its {rated['prompts']:,} prompts that also have a success rate of Qwen2.5-Math-7B in 128 "
        "rollouts. The rate goes to `drifting_gp` as `vip.covariates` would hand it on. Variance left, as above, and "
        "the top signal of the first epoch after its first step, before which nothing is known.\n"
        + table(["covariates", *eras.values(), "top signal"], known)
        + f"\nAll {whole['prompts']:,} prompts of the run, the others without a rate:\n"
        + table(["covariates", *eras.values()], all_prompts)
    )


def _rows() -> list[tuple[str, str]]:
    return list(_TITLES.items())


def _late_scores(scores: Any) -> str:
    rows = [
        [
            title,
            f"{scores[name]['log_loss']['value']:.4f}",
            f"{scores[name]['ece']:.3f}",
            estimated_value(scores[name]["variance_left_dr_grpo"]),
            estimated_value(scores[name]["variance_left_predicted_baseline"]),
            f"{scores[name]['top_signal']['value']:.2f}",
            estimated_value(scores[name]["top_mixed"], 0),
        ]
        for name, title in _rows()
    ]
    return (
        f"\nFrom the third epoch on (steps 20-500), {estimated_value(scores['mixed'], 0)} of all groups have both "
        "outcomes. The floor of the log loss, the entropy of hindsight's probabilities, is "
        f"{scores['floor']['value']:.4f}. The top signal is the mean p(1-p) of the quarter of a batch for which the "
        "predictor expects the most, relative to the batch's mean; the last column is about the same quarter. The "
        "predicted baseline is compared with itself at equal counts.\n"
        + table(["predictor", "log loss", "ECE", "Dr.GRPO", "predicted baseline", "top signal", "mixed groups"], rows)
    )


def _served(served: Any) -> str:
    rows = []
    for strategy, by_chooser in served.items():
        name, comma, setting = strategy.partition(",")
        for chooser, found in by_chooser.items():
            cells = (f"{found[era]['signal']['value']:.2f}, {estimated_value(found[era]['mixed'], 0)}" for era in _ERAS)
            rows.append([f"`{name}`{comma}{setting}", _TITLES.get(chooser, chooser), *cells])
    return (
        "\nStrategies that choose prompts, each from the recorded batches: the signal of what they serve relative to "
        "the average, and the share of its groups with both outcomes. The predictors have observed all groups of the "
        "run, also those that the strategy would not have served.\n"
        + table(["strategy", "prediction", *_ERAS.values()], rows)
    )
