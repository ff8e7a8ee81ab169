"""Intervals, and how good predicted probabilities are."""
