"""Sampling with vLLM for evaluations, in this process or on a Ray cluster, and loading of the sampled models."""
