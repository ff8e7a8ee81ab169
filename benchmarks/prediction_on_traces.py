"""Accuracy of each predictor on recorded training runs.

    python benchmarks/prediction_on_traces.py [TRACE ...]

Replays `benchmarks/traces/*.jsonl.gz` (see the README there) through every predictor. As in training, each step is
predicted and then observed. Recordings of verl and of the in-process loop are reported separately, and so are first
visits to a prompt and later visits.

The true probabilities are unknown. The scores use the sampled rewards, which the predictor has not seen yet.

- Brier score and log loss are computed on the rollouts of the predicted visit. Their floors, the scores of the true
  probabilities, are estimated from the same rollouts without a model. k (n - k) / (n (n - 1)) is an unbiased estimate
  of p (1 - p). k/n (psi(n) - psi(k)), plus the same for failures, is an unbiased estimate of the first n - 1 terms of
  the series of the entropy of p (Montgomery-Smith & Schurmann 2005); the floor of the log loss is at least that.
- "variance left" is the variance of the counts that follow from a step's predictions, relative to that of equal counts,
  with the unbiased estimate in place of p (1 - p). The counts do not depend on the rollouts of this estimate, so the
  estimated variance is unbiased too. "hindsight" sets the counts by half of the visit's own rollouts and is scored on
  the other half: it shows the value of knowing four outcomes of the visit.
- Intervals are 95 %, from 1,000 bootstrap samples of prompts (scores) or steps (variance). Those of differences from
  our predictor are paired.
"""

import argparse
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from verl_vip.allocation import allocate
from verl_vip.allocation.variances import Rloo
from verl_vip.config import EMBEDDING_MODEL
from verl_vip.prediction.contract import Predictor, Prompts
from verl_vip.prediction.embedding import PromptEmbedder
from verl_vip.prediction.identity import prompt_id
from verl_vip.prediction.registry import build_predictor
from verl_vip.statistics.calibration import ece, spearman

DEFAULT = "drifting_gp"
PREDICTORS: dict[str, Callable[[], Predictor]] = {
    DEFAULT: lambda: build_predictor(DEFAULT),
    "paper's GP": lambda: build_predictor("gaussian_process"),
    "paper's GP, eps .05": lambda: build_predictor("gaussian_process", eps=0.05),
    "beta_table": lambda: build_predictor("beta_table"),
    "last_seen": lambda: build_predictor("last_seen"),
    "moving_average": lambda: build_predictor("moving_average"),
    "ridge": lambda: build_predictor("ridge"),
}
LOWER, UPPER, EPS, RESAMPLES = 3, 24, 1e-3, 1000
SOURCES = ("verl", "one PyTorch process")
FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results" / "prediction_on_traces" / "results.json"


@dataclass(frozen=True)
class TraceStep:
    """One training step of a trace; each tensor has one entry for each of its `B` prompts."""

    prompts: Prompts
    successes: Tensor
    trials: Tensor
    known: Tensor


def read_trace(path: Path, embedder: PromptEmbedder) -> list[TraceStep]:
    """Read a trace, and mark the visits to prompts that were seen before."""
    visits = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    texts = list({visit["prompt"]: None for visit in visits})
    ids = {text: prompt_id(text) for text in texts}
    vectors = dict(zip(texts, embedder.embed(list(ids.values()), texts), strict=True))
    seen: set[str] = set()
    steps = []
    for number in sorted({visit["step"] for visit in visits}):
        rows = [visit for visit in visits if visit["step"] == number]
        names = [visit["prompt"] for visit in rows]
        prompts = Prompts(tuple(ids[name] for name in names), torch.stack([vectors[name] for name in names]))
        successes = torch.tensor([visit["successes"] for visit in rows], dtype=torch.float64)
        trials = torch.tensor([visit["trials"] for visit in rows])
        steps.append(TraceStep(prompts, successes, trials, torch.tensor([name in seen for name in names])))
        seen.update(names)
    return steps


@dataclass
class Visits:
    """Predictions and outcomes over all traces of a regime, with one entry for each visit."""

    prompt: Tensor
    mean: dict[str, Tensor]
    successes: Tensor
    trials: Tensor
    step_of: Tensor
    variances: dict[str, Tensor]


def unbiased_variance(successes: Tensor, trials: Tensor) -> Tensor:
    """Return the unbiased estimate of `p (1 - p)`."""
    return successes * (trials - successes) / (trials * (trials - 1))


def even_and_chosen(weights: dict[str, Tensor], estimate: Tensor, total: int) -> dict[str, float]:
    """Return the estimated summed variance of equal counts and of the counts from each source's weights."""
    size = len(estimate)
    even = torch.full((size,), total // size)
    even[: total % size] += 1
    counts = {
        name: allocate(None, total, lower=LOWER, upper=UPPER, weight=weight.clamp_min(0))
        for name, weight in weights.items()
    }
    counts["even"] = even
    shape = Rloo(torch.ones(size, dtype=torch.float64))
    return {
        name: float((estimate * torch.as_tensor(shape.value(chosen.numpy()))).sum()) for name, chosen in counts.items()
    }


def hindsight(step: TraceStep, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split each visit's rollouts into halves, and return weights from the first and the estimate from the second."""
    width = int(step.trials.max())
    order = torch.rand(len(step.trials), width, generator=generator, dtype=torch.float64)
    won = torch.arange(width) < step.successes[:, None]
    order[torch.arange(width) >= step.trials[:, None]] = 2.0
    shuffled = won.gather(1, order.argsort(1))
    half = step.trials // 2
    first = (shuffled & (torch.arange(width) < half[:, None])).sum(1).double()
    rate = (first + 0.5) / (half + 1)
    return rate * (1 - rate), unbiased_variance(step.successes - first, step.trials - half)


def replay(traces: list[list[TraceStep]]) -> dict[str, Visits]:
    """Predict and observe every trace with fresh predictors, and return the visits of each regime."""
    generator = torch.Generator().manual_seed(0)
    rows: dict[str, list[tuple[Tensor, dict[str, Tensor], Tensor, Tensor, Tensor]]] = {"first visits": [], "later": []}
    variances: dict[str, list[dict[str, float]]] = {"first visits": [], "later": []}
    numbers: dict[tuple[int, str], int] = {}
    for which, trace in enumerate(traces):
        predictors = {name: build() for name, build in PREDICTORS.items()}
        for step in trace:
            predicted = {name: predictor.predict(step.prompts) for name, predictor in predictors.items()}
            for predictor in predictors.values():
                predictor.observe(step.prompts, step.successes, step.trials)
            prompt = torch.tensor([numbers.setdefault((which, name), len(numbers)) for name in step.prompts.ids])
            regime = "later" if step.known.double().mean() > 0.5 else "first visits"
            weights = {name: prediction.reward_variance for name, prediction in predicted.items()}
            total = int(step.trials.sum())
            found = even_and_chosen(weights, unbiased_variance(step.successes, step.trials), total)
            weight, estimate = hindsight(step, generator)
            halves = even_and_chosen({"hindsight": weight}, estimate, total)
            variances[regime].append({**found, "hindsight": halves["hindsight"], "even of halves": halves["even"]})
            number = torch.full((len(prompt),), len(variances[regime]) - 1)
            for name, mask in (("first visits", ~step.known), ("later", step.known)):
                means = {key: prediction.mean[mask] for key, prediction in predicted.items()}
                rows[name].append((prompt[mask], means, step.successes[mask], step.trials[mask], number[mask]))
    return {regime: _joined(rows[regime], variances[regime]) for regime in rows if variances[regime]}


def _joined(
    rows: list[tuple[Tensor, dict[str, Tensor], Tensor, Tensor, Tensor]], variances: list[dict[str, float]]
) -> Visits:
    prompt, means, successes, trials, step_of = zip(*rows, strict=True)
    return Visits(
        torch.cat(prompt),
        {name: torch.cat([mean[name] for mean in means]) for name in PREDICTORS},
        torch.cat(successes),
        torch.cat(trials),
        torch.cat(step_of),
        {name: torch.tensor([row[name] for row in variances]) for name in variances[0]},
    )


def resampled(groups: Tensor, values: Tensor, generator: torch.Generator) -> Tensor:
    """Return `RESAMPLES` bootstrap means of values `... x N`; groups are drawn as a whole."""
    size = int(groups.max()) + 1
    sums = torch.zeros(size, values.shape[-1] if values.ndim > 1 else 1, dtype=torch.float64)
    sums.index_add_(0, groups, values if values.ndim > 1 else values[:, None])
    counts = torch.bincount(groups, minlength=size).double()
    present = counts.nonzero()[:, 0]
    draws = present[torch.randint(len(present), (RESAMPLES, len(present)), generator=generator)]
    return sums[draws].sum(1) / counts[draws].sum(1)[:, None]


def interval(samples: Tensor) -> list[float]:
    """Return the 2.5 % and 97.5 % points."""
    return [float(samples.quantile(q)) for q in (0.025, 0.975)]


def judge(visits: Visits) -> dict[str, Any]:
    """Return every predictor's scores with intervals, and the floors."""
    k, n = visits.successes, visits.trials.double()
    rate = k / n
    names = list(PREDICTORS)
    clipped = torch.stack([visits.mean[name].clamp(EPS, 1 - EPS) for name in names], 1)
    losses = -(rate[:, None] * clipped.log() + (1 - rate)[:, None] * (1 - clipped).log())
    squares = rate[:, None] * (1 - clipped).square() + (1 - rate)[:, None] * clipped.square()
    psi = torch.digamma
    entropy = rate * (psi(n) - psi(k.clamp_min(0.5))) + (1 - rate) * (psi(n) - psi((n - k).clamp_min(0.5)))
    floor = {"log_loss": float(entropy.mean()), "brier": float(unbiased_variance(k, n).mean())}
    generator = torch.Generator().manual_seed(0)
    loss_means = resampled(visits.prompt, losses, generator)
    generator.manual_seed(1)
    ratios = _variance_ratios(visits.variances, generator)
    result: dict[str, Any] = {"visits": len(k), "steps": len(visits.variances["even"]), "floor": floor}
    for column, name in enumerate(names):
        result[name] = {
            "log_loss": float(losses[:, column].mean()),
            "log_loss_interval": interval(loss_means[:, column]),
            f"log_loss_above_{DEFAULT}": interval(loss_means[:, column] - loss_means[:, 0]),
            "brier": float(squares[:, column].mean()),
            "ece": ece(visits.mean[name], k, n),
            "bias": float((visits.mean[name] - rate).mean()),
            "spearman": spearman(visits.mean[name], k, n),
            "variance_left": float(visits.variances[name].sum() / visits.variances["even"].sum()),
            "variance_left_interval": interval(ratios[name]),
            f"variance_above_{DEFAULT}": interval(ratios[name] - ratios[DEFAULT]),
        }
    left = float(visits.variances["hindsight"].sum() / visits.variances["even of halves"].sum())
    result["hindsight"] = {"variance_left": left, "variance_left_interval": interval(ratios["hindsight"])}
    return result


def _variance_ratios(variances: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    size = len(variances["even"])
    draws = torch.randint(size, (RESAMPLES, size), generator=generator)
    totals = {name: values[draws].sum(1) for name, values in variances.items()}
    even = {name: totals["even of halves" if name == "hindsight" else "even"] for name in totals}
    return {name: totals[name] / even[name] for name in totals}


def show(regime: str, result: dict[str, Any]) -> None:
    """Print one regime's scores as a table."""
    floor = result["floor"]
    print(f"\n{regime}: {result['visits']} visits in {result['steps']} steps")
    print(f"  floors: log loss at least {floor['log_loss']:.4f}, Brier {floor['brier']:.4f}")
    titles = f"{'Brier':>7} {'ECE':>6} {'bias':>6} {'rho':>6}"
    print(f"  {'':20} {'log loss':>8} {'above default':>18} {titles} {'variance left':>23}")
    for name in [*PREDICTORS, "hindsight"]:
        row = result[name]
        low, high = row["variance_left_interval"]
        left = f"{row['variance_left']:.3f} [{low:.3f}, {high:.3f}]"
        if name == "hindsight":
            print(f"  {name:20} {'':56} {left:>23}")
            continue
        above = "[{:+.4f}, {:+.4f}]".format(*row[f"log_loss_above_{DEFAULT}"])
        scores = f"{row['brier']:7.4f} {row['ece']:6.3f} {row['bias']:+6.3f} {row['spearman']:6.3f}"
        print(f"  {name:20} {row['log_loss']:8.4f} {above:>18} {scores} {left:>23}")


def source_of(path: Path) -> str:
    """Return the source of a recording from its file name; see `traces/README.md`."""
    return SOURCES[1] if path.name.startswith("torch-") else SOURCES[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", type=Path, nargs="*", help="traces to use (default: all in benchmarks/traces)")
    parser.add_argument(
        "--cache", type=Path, default=Path("~/.cache/verl_vip").expanduser(), help="folder for embeddings"
    )
    parser.add_argument("--no-result", action="store_true", help="print the results without writing them")
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = options.traces or sorted((FOLDER / "traces").glob("*.jsonl.gz"))
    embedder = PromptEmbedder(EMBEDDING_MODEL, cache_dir=options.cache)
    sources: dict[str, Any] = {}
    for source in SOURCES:
        of_it = [path for path in paths if source_of(path) == source]
        if of_it:
            visits = replay([read_trace(path, embedder) for path in of_it])
            regimes = {regime: judge(rows) for regime, rows in visits.items()}
            sources[source] = {"traces": [path.name for path in of_it], "regimes": regimes}
            for regime, result in regimes.items():
                show(f"{source}, {regime}", result)
    if not options.no_result:
        RESULTS.write_text(json.dumps({"sources": sources}, indent=1) + "\n")


if __name__ == "__main__":
    main()
