"""Numbers for every known prompt, in tensors that grow."""

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from verl_vip.errors import StateError


class GrowingRows:
    """A matrix to which rows are appended, in amortised constant time for each row.

    Args:
        width: Length of a row.
        dtype: Type of its elements.
    """

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        self._store = torch.empty(0, width, dtype=dtype)
        self._used = 0

    @property
    def rows(self) -> Tensor:
        """A `Q x width` view of all rows. Writing to it changes them; appending invalidates it."""
        return self._store[: self._used]

    @property
    def tensor_bytes(self) -> int:
        """Bytes of memory of the matrix, including the room to grow."""
        return self._store.untyped_storage().nbytes()

    def append(self, rows: Tensor) -> None:
        """Append a `k x width` tensor."""
        needed = self._used + rows.shape[0]
        if needed > self._store.shape[0]:
            larger = self._store.new_empty(max(needed, 2 * self._store.shape[0]), self._store.shape[1])
            larger[: self._used] = self.rows
            self._store = larger
        self._store[self._used : needed] = rows
        self._used = needed


class PromptTable:
    """A row of float64 numbers for every prompt id.

    Args:
        initial: The name of each column, and its value for a new prompt.
    """

    def __init__(self, initial: Mapping[str, float]) -> None:
        self._initial = dict(initial)
        self._columns = {name: position for position, name in enumerate(initial)}
        self._rows: dict[str, int] = {}
        self._values = GrowingRows(len(initial), torch.float64)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def tensor_bytes(self) -> int:
        """Bytes of memory of the numbers, without the ids; takes constant time."""
        return self._values.tensor_bytes

    @property
    def values(self) -> Tensor:
        """A `Q x columns` view; writing to it changes the table."""
        return self._values.rows

    def __getitem__(self, column: str) -> Tensor:
        """Return a `Q` view of a column; writing to it changes the table."""
        return self._values.rows[:, self._columns[column]]

    def find(self, ids: Sequence[str]) -> Tensor:
        """Return a `B` int64 tensor of rows, -1 for unknown ids."""
        return torch.tensor(list(map(self._rows.get, ids, repeat(-1))), dtype=torch.long)

    def ensure(self, ids: Sequence[str]) -> Tensor:
        """Append the unknown ids in order, and return a `B` int64 tensor of rows."""
        rows = self.find(ids)
        if bool((rows >= 0).all()):
            return rows
        before = len(self._rows)
        numbers = [self._rows.setdefault(name, len(self._rows)) for name in ids]
        added = len(self._rows) - before
        if added:
            fresh = torch.tensor([list(self._initial.values())], dtype=torch.float64)
            self._values.append(fresh.expand(added, -1))
        return torch.tensor(numbers, dtype=torch.long)

    def lookup(self, ids: Sequence[str], column: str) -> Tensor:
        """Return a `B` tensor of a column's values, the initial value for unknown ids."""
        return self.lookup_all(ids)[:, self._columns[column]]

    def lookup_all(self, ids: Sequence[str]) -> Tensor:
        """Return a `B x columns` tensor of copies, the initial values for unknown ids."""
        rows = self.find(ids)
        known = rows >= 0
        values = torch.tensor([list(self._initial.values())], dtype=torch.float64).repeat(len(ids), 1)
        values[known] = self.values[rows[known]]
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return the ids, in row order, and a `Q x columns` tensor."""
        return {"ids": list(self._rows), "columns": list(self._columns), "values": self._values.rows.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value.

        Raises:
            StateError: If the columns differ, there is not one row for each id, or an id is not a string.
        """
        ids, values = state["ids"], state["values"]
        rows = {name: row for row, name in enumerate(ids)}
        if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
            raise StateError("the saved table has ids that are not strings.")
        is_like = values.dtype == torch.float64 and values.shape == (len(ids), len(self._columns))
        if state["columns"] != list(self._columns) or len(rows) < len(ids) or not is_like:
            raise StateError(
                f"the saved table has columns {state['columns']} and shape {tuple(values.shape)} of {values.dtype} "
                f"for {len(rows)} distinct of {len(ids)} prompts; expected one row of float64 a prompt and columns "
                f"{list(self._columns)}."
            )
        self._rows = rows
        self._values = GrowingRows(len(self._columns), torch.float64)
        self._values.append(values)
