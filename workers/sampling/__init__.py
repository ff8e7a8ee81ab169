"""Sampling for evaluations with vLLM, in this process or on a Ray cluster, and the models that it samples from."""
