"""A random panel of prompts whose recent outcomes are kept, from which hyper-parameters are fitted."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from verl_vip.prediction.observations import Observations
from verl_vip.prediction.state import copied, require

#: Largest number of visits kept.
_CAPACITY = 512
#: Largest number of visits kept of one prompt.
_VISITS = 4


@dataclass(frozen=True)
class PanelVisits:
    """`N` visits to prompts of the panel.

    Attributes:
        embeddings: An `N x d` tensor.
        covariates: An `N x c` tensor.
        prompt: An `N` int64 tensor, the number of the visited prompt.
        time: An `N` tensor of training steps.
        successes: An `N` tensor of summed rewards.
        trials: An `N` tensor of rollout counts.
    """

    embeddings: Tensor
    covariates: Tensor
    prompt: Tensor
    time: Tensor
    successes: Tensor
    trials: Tensor


class Panel:
    """Keeps the last visits to a random set of prompts, and halves the set when it is full.

    Membership depends on a prompt's id alone, so a member is followed through all its visits. This separates drift from
    differences between prompts. Memory and time are bounded, however long a run is.
    """

    def __init__(self) -> None:
        self._share = 1.0
        self._embeddings: dict[str, Tensor] = {}
        self._covariates: dict[str, Tensor] = {}
        self._visits: dict[str, list[tuple[int, float, float]]] = {}

    @property
    def tensor_bytes(self) -> int:
        """Bytes of memory that the embeddings take."""
        return sum(vector.nbytes for vector in self._embeddings.values())

    def add(self, seen: Observations, time: int, covariates: Tensor | None = None) -> None:
        """Keep the members' outcomes of one step.

        Args:
            seen: The outcomes of `B` prompts.
            time: The step.
            covariates: A `B x c` float64 tensor; None if there are none.
        """
        known = torch.zeros(len(seen.prompts), 0, dtype=torch.float64) if covariates is None else covariates
        rows = zip(seen.prompts.ids, seen.successes.tolist(), seen.trials.tolist(), strict=True)
        for row, (name, successes, trials) in enumerate(rows):
            if _draw(name) < self._share:
                self._embeddings.setdefault(name, seen.prompts.embeddings[row].detach().cpu().float().clone())
                self._covariates.setdefault(name, known[row].clone())
                visits = self._visits.setdefault(name, [])
                visits.append((time, successes, trials))
                del visits[:-_VISITS]
        while sum(map(len, self._visits.values())) > _CAPACITY:
            self._share /= 2
            for name in [name for name in self._visits if _draw(name) >= self._share]:
                del self._visits[name], self._embeddings[name], self._covariates[name]

    def visits(self) -> PanelVisits:
        """Return all visits that are kept."""
        visits = [(number, *visit) for number, name in enumerate(self._visits) for visit in self._visits[name]]
        prompt, time, successes, trials = torch.tensor(visits, dtype=torch.float64).T
        rows = prompt.long()
        embeddings = torch.stack([self._embeddings[name] for name in self._visits])[rows]
        covariates = torch.stack([self._covariates[name] for name in self._visits])[rows]
        return PanelVisits(embeddings, covariates, rows, time, successes, trials)

    def require_width(self, width: int | None, covariates: int) -> None:
        """Raise `StateError` if a member has another width of embedding, or another number of covariates.

        Args:
            width: The width of the embeddings; None if there must be no members.
            covariates: The number of covariates.
        """
        found = {len(vector) for vector in self._embeddings.values()}
        known = {len(vector) for vector in self._covariates.values()}
        fits = not found and not known if width is None else found == {width} and known == {covariates}
        require(fits, "panel has members of another width than the features")

    def state_dict(self) -> dict[str, Any]:
        """Return the members and their visits."""
        return {
            "share": self._share,
            "embeddings": {name: vector.clone() for name, vector in self._embeddings.items()},
            "covariates": {name: vector.clone() for name, vector in self._covariates.items()},
            "visits": {name: [list(visit) for visit in visits] for name, visits in self._visits.items()},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Panel":
        """Build a panel from its `state_dict`.

        Raises:
            StateError: If a member has no embedding, or a visit is impossible.
        """
        panel = cls()
        panel._share = float(state["share"])
        panel._embeddings = {name: copied(vector, torch.float32, None) for name, vector in state["embeddings"].items()}
        panel._covariates = {name: copied(vector, torch.float64, None) for name, vector in state["covariates"].items()}
        panel._visits = {
            name: [(int(time), float(won), float(tried)) for time, won, tried in visits]
            for name, visits in state["visits"].items()
        }
        members, visits = panel._visits, [visit for visits in panel._visits.values() for visit in visits]
        described = members.keys() == panel._embeddings.keys() == panel._covariates.keys()
        require(described, "panel does not have an embedding and covariates for each member")
        drawn = all(isinstance(name, str) and _draw(name) < panel._share <= 1 for name in members)
        bounded = len(visits) <= _CAPACITY and all(0 < len(visits) <= _VISITS for visits in members.values())
        require(drawn and bounded, "panel has members that its share excludes, or more visits than it keeps")
        possible = all(time >= 0 and tried > 0 and 0 <= won <= tried for time, won, tried in visits)
        require(possible, "panel has an impossible visit")
        return panel


def _draw(name: str) -> float:
    """Return a number in [0, 1), pseudo-random and fixed for each id."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6, person=b"panel").digest()) / 2**48
