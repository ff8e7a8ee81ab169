"""What the hooks of a training run share: predictor and strategy, plans, training steps, and the saved state."""
