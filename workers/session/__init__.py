"""What the hooks of one training run share: its predictor and strategy, its plans, and the state it resumes from."""
