"""Evaluation of models: samples and grades responses, and computes pass@k, mean@k and maj@k with 95% intervals.

The intervals are over problems. The package does not depend on verl, vLLM or Ray: callers pass in a sampler
(`verl_vip.evaluation.sampling.Sampler`).
"""
