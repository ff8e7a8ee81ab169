"""Predictors to compare with: the paper's Gaussian process, tables of single prompts, the truth."""
