"""The verl side: the four hooks that stock verl loads by name, and their parts.

rollout_manager   writes each prompt's count before sampling
observer          reads the sampled rollouts, and updates the predictor
advantage         weights unequal prompt groups as the analysis assumes
checkpoint        keeps the predictor's state in verl's checkpoint folder

session/          what the four hooks share; verl runs them in one process
settings/         reads and checks verl's config
compatibility/    the contract with verl and vLLM, `verl-vip doctor`, and training on a CPU
sampling/         vLLM for evaluations, and checkpoints as Hugging Face models
"""
