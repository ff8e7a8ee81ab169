"""The records of a run: their format, how they are written and read, and statistics of them."""
