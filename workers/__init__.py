"""The verl side: the four hooks that stock verl loads by name, and what they need.

rollout_manager   writes each prompt's count before sampling
observer          reads what came back, and updates the predictor
advantage         weighs unequal prompt groups as the analysis assumes
checkpoint        keeps the predictor's state in verl's checkpoint folder

session/          what these four share; verl runs them in one process
settings/         what is read from verl's config, and what is refused
compatibility/    what is relied on in verl and vLLM, `verl-vip doctor`, and training on a CPU
sampling/         vLLM for evaluations, and checkpoints as Hugging Face models
"""
