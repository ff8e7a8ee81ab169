"""Reports on runs, evaluations and simulations: pages, tables and pictures."""
