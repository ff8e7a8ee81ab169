"""Hydra configs that compose with verl's own, and the demo's data and base model."""
