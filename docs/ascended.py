"""The section of the strategies' page on what training ascends if a strategy chooses prompts."""

from pathlib import Path

import torch
import yaml
from tables import table

from verl_vip.strategies.policies.prioritized import priorities

#: Success probabilities in the table of weights.
_PROBABILITIES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


def ascended_section() -> str:
    """Return the section on what training ascends if a strategy chooses prompts, with the weights of the preset."""
    preset = yaml.safe_load(
        (Path(__file__).resolve().parent.parent / "recipes" / "vip" / "prioritized.yaml").read_text()
    )
    settings = preset["vip"]["strategy_settings"]
    exponent, share = float(settings["exponent"]), float(settings["even_share"])
    spread = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    decided = torch.cat([spread, torch.full((4000,), 1e-6, dtype=torch.float64)])
    weights = [_weights_at(pool * (1 - pool), exponent, share) for pool in (spread, decided)]
    rows = [[f"{p:g}", *(f"{found[row]:.2f}" for found in weights), "1.00"] for row, p in enumerate(_PROBABILITIES)]
    return (
        "\n## What is ascended\n\n"
        "Uniform sampling ascends the mean success probability of the data. A strategy that chooses prompts ascends a "
        "mean in which a prompt counts as often as it is chosen, unless the update weights it by the inverse of its "
        "probability. `balanced` counts every label the same. For `prioritized` it is the sum of w p over the data "
        "(before `balance`), with w proportional to `(1 - e) E[p(1-p)]^k / mean + e`, exponent k and even share e. "
        "The weights follow the policy: they are those of the current predictions, and are not differentiated. "
        "`thompson`, `mopps` and others that take the best of a pool count the others as nothing in that step.\n\n"
        f"The weight of a prompt whose p is known, relative to uniform sampling, for the preset `+vip=prioritized` "
        f"(k = {exponent:g}, e = {share:g}), and with `correction: 1.0`:\n"
        + table(["p", "p spread evenly over the pool", "four fifths of the pool decided", "with correction 1"], rows)
        + "\nDecided prompts are always or never solved; the last fifth of that pool is spread evenly. With correction "
        "1, updates are noisier: what is rarely drawn has a large weight.\n"
    )


def _weights_at(pool: torch.Tensor, exponent: float, even_share: float) -> list[float]:
    """Return the weights of `_PROBABILITIES`, whose prompts are a negligible part of a pool with these variances."""
    each = []
    for p in _PROBABILITIES:
        variance = torch.cat([torch.tensor([p * (1 - p)], dtype=torch.float64), pool])
        each.append(float(priorities(variance, exponent, even_share)[0]))
    return each
