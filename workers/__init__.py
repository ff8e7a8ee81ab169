"""The verl side: what stock verl loads by name to let verl-vip decide its rollout counts.

rollout_manager   writes each prompt's count before sampling
observer          reads what came back, and teaches the predictor
advantage         weighs unequal prompt groups as the analysis assumes
checkpoint        keeps the predictor's state in verl's checkpoint folder
session           what these four share; verl runs them in one process
planner           a batch's counts, before any of it is sampled
plan_queue        batches that have counts and are not trained on yet
outcomes          what a step planned and what came back of it
sampled_rows      rows in TransferQueue, in the order sampled
row_weights       what a strategy's selection means for the rows of the batch
metrics           the `vip/*` metrics of a step
validation        validation batches by data source
run_state         what a continued run needs, in verl's checkpoint folders
run_settings      what is read from verl's config, and what is refused
async_settings    verl's trainer modes, and which of them keep a batch's budget
cpu_platform      verl and vLLM on a CPU, only when asked for
"""
