"""Confidence intervals, and the calibration of predicted probabilities."""
