"""What a run writes down, and how it is read: by the hooks, by whoever follows a run, and by reports."""
