"""A random panel of prompts whose recent outcomes are kept, from which hyper-parameters are fitted."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from verl_vip.prediction.observations import Observations
from verl_vip.prediction.state import copied, require

#: Largest number of records kept.
_CAPACITY = 512
#: Largest number of records kept of one prompt, and of visits in one record.
_RECORDS, _VISITS = 4, 2

#: The mean step of one or more consecutive visits to a prompt, their successes and trials, and how many they are.
_Record = tuple[float, float, float, int]


@dataclass(frozen=True)
class PanelVisits:
    """`N` records of visits to prompts of the panel: each of one visit, or of two consecutive ones.

    Attributes:
        embeddings: An `N x d` tensor.
        covariates: An `N x c` tensor.
        prompt: An `N` int64 tensor, the number of the visited prompt.
        time: An `N` tensor of training steps, the mean of the visits'.
        successes: An `N` tensor of summed rewards.
        trials: An `N` tensor of rollout counts.
        visits: An `N` tensor of the numbers of visits.
    """

    embeddings: Tensor
    covariates: Tensor
    prompt: Tensor
    time: Tensor
    successes: Tensor
    trials: Tensor
    visits: Tensor


class Panel:
    """Keeps the last visits to a random set of prompts, and halves the set when it is full.

    Membership depends on a prompt's id alone, so a member is followed through all its visits. This separates drift from
    differences between prompts. Slow drift shows only over many visits, and the cost of a fit grows with the number of
    records, so older visits are pooled two by two. Memory and time are bounded, however long a run is.
    """

    def __init__(self) -> None:
        self._share = 1.0
        self._embeddings: dict[str, Tensor] = {}
        self._covariates: dict[str, Tensor] = {}
        self._visits: dict[str, list[_Record]] = {}

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
                _append(self._visits.setdefault(name, []), (float(time), successes, trials, 1))
        while sum(map(len, self._visits.values())) > _CAPACITY:
            self._share /= 2
            for name in [name for name in self._visits if _draw(name) >= self._share]:
                del self._visits[name], self._embeddings[name], self._covariates[name]

    def visits(self) -> PanelVisits:
        """Return all records that are kept."""
        visits = [(number, *visit) for number, name in enumerate(self._visits) for visit in self._visits[name]]
        prompt, time, successes, trials, count = torch.tensor(visits, dtype=torch.float64).T
        rows = prompt.long()
        embeddings = torch.stack([self._embeddings[name] for name in self._visits])[rows]
        covariates = torch.stack([self._covariates[name] for name in self._visits])[rows]
        return PanelVisits(embeddings, covariates, rows, time, successes, trials, count)

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
            name: [(float(time), float(won), float(tried), int(count)) for time, won, tried, count in visits]
            for name, visits in state["visits"].items()
        }
        members, visits = panel._visits, [visit for visits in panel._visits.values() for visit in visits]
        described = members.keys() == panel._embeddings.keys() == panel._covariates.keys()
        require(described, "panel does not have an embedding and covariates for each member")
        drawn = all(isinstance(name, str) and _draw(name) < panel._share <= 1 for name in members)
        bounded = len(visits) <= _CAPACITY and all(0 < len(visits) <= _RECORDS for visits in members.values())
        require(drawn and bounded, "panel has members that its share excludes, or more records than it keeps")
        possible = all(
            time >= 0 and tried > 0 and 0 <= won <= tried and 1 <= count <= _VISITS
            for time, won, tried, count in visits
        )
        require(possible, "panel has an impossible visit")
        return panel


def _append(records: list[_Record], visit: _Record) -> None:
    """Add a visit; if there are then too many records, pool the oldest two that can be, or drop the oldest one."""
    records.append(visit)
    if len(records) <= _RECORDS:
        return
    for row in range(len(records) - 1):
        (time, won, tried, count), (later, more_won, more_tried, more) = records[row : row + 2]
        total = count + more
        if total <= _VISITS:
            pooled = ((count * time + more * later) / total, won + more_won, tried + more_tried, total)
            records[row : row + 2] = [pooled]
            return
    del records[0]


def _draw(name: str) -> float:
    """Return a number in [0, 1), pseudo-random and fixed for each id."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6, person=b"panel").digest()) / 2**48
