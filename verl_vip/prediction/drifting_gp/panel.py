"""A small sample of prompts whose outcomes are all remembered, to learn hyper-parameters from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from verl_vip.prediction.observations import Observations
from verl_vip.prediction.state import copied, require

#: Most records held.
_CAPACITY = 512
#: Visits remembered of one prompt.
_VISITS = 4


@dataclass(frozen=True)
class Records:
    """`N` visits to prompts of the panel.

    Attributes:
        embeddings: An `N x d` tensor.
        prompt: An `N` int64 tensor that numbers the prompts.
        time: An `N` tensor of training steps.
        successes: An `N` tensor of summed rewards.
        trials: An `N` tensor of rollout counts.
    """

    embeddings: Tensor
    prompt: Tensor
    time: Tensor
    successes: Tensor
    trials: Tensor


class Panel:
    """Remembers every visit to a random set of prompts, which shrinks when the memory is full.

    Membership depends on a prompt's id alone, so that a member is followed through all its visits, which is
    what tells drift from differences between prompts. Memory and time are bounded however long a run is.
    """

    def __init__(self) -> None:
        self._share = 1.0
        self._embeddings: dict[str, Tensor] = {}
        self._visits: dict[str, list[tuple[int, float, float]]] = {}

    @property
    def tensor_bytes(self) -> int:
        """Bytes of memory that the embeddings take; each is a copy of its own."""
        return sum(vector.nbytes for vector in self._embeddings.values())

    def add(self, seen: Observations, time: int) -> None:
        """Remember one step's outcomes of the members."""
        rows = zip(seen.prompts.ids, seen.successes.tolist(), seen.trials.tolist(), strict=True)
        for row, (name, successes, trials) in enumerate(rows):
            if _draw(name) < self._share:
                self._embeddings.setdefault(name, seen.prompts.embeddings[row].detach().cpu().float().clone())
                visits = self._visits.setdefault(name, [])
                visits.append((time, successes, trials))
                del visits[:-_VISITS]
        while sum(map(len, self._visits.values())) > _CAPACITY:
            self._share /= 2
            for name in [name for name in self._visits if _draw(name) >= self._share]:
                del self._visits[name], self._embeddings[name]

    def records(self) -> Records:
        """Return all remembered visits."""
        visits = [(number, *visit) for number, name in enumerate(self._visits) for visit in self._visits[name]]
        prompt, time, successes, trials = torch.tensor(visits, dtype=torch.float64).T
        embeddings = torch.stack([self._embeddings[name] for name in self._visits])
        return Records(embeddings[prompt.long()], prompt.long(), time, successes, trials)

    def require_width(self, width: int | None) -> None:
        """Raise `StateError` unless there are members, all with embeddings of a width, or none where it is None."""
        found = {len(vector) for vector in self._embeddings.values()}
        require(found == (set() if width is None else {width}), "panel has members of another width than the features")

    def state_dict(self) -> dict[str, Any]:
        """Return the members and their visits."""
        return {
            "share": self._share,
            "embeddings": {name: vector.clone() for name, vector in self._embeddings.items()},
            "visits": {name: [list(visit) for visit in visits] for name, visits in self._visits.items()},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Panel":
        """Build what `state_dict` describes.

        Raises:
            StateError: If the members do not each have an embedding, or a visit is none.
        """
        panel = cls()
        panel._share = float(state["share"])
        panel._embeddings = {name: copied(vector, torch.float32, None) for name, vector in state["embeddings"].items()}
        panel._visits = {
            name: [(int(time), float(won), float(tried)) for time, won, tried in visits]
            for name, visits in state["visits"].items()
        }
        members, visits = panel._visits, [visit for visits in panel._visits.values() for visit in visits]
        require(members.keys() == panel._embeddings.keys(), "panel does not have an embedding for each member")
        drawn = all(isinstance(name, str) and _draw(name) < panel._share <= 1 for name in members)
        bounded = len(visits) <= _CAPACITY and all(0 < len(visits) <= _VISITS for visits in members.values())
        require(drawn and bounded, "panel has other members than its share says")
        won = all(time >= 0 and tried > 0 and 0 <= won <= tried for time, won, tried in visits)
        require(won, "panel has visits that no prompt had")
        return panel


def _draw(name: str) -> float:
    """Return a number in [0, 1) that is random between ids and fixed for each."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6, person=b"panel").digest()) / 2**48
