"""Every symbol and behaviour of verl, TransferQueue and vLLM that this package relies on.

`verl-vip doctor` and the tests check them. If a new release changes one, they name it, before a run fails.
"""

import inspect

from verl_vip.workers.compatibility.reliance import Reliance, in_order, remote_method_has, source_has, takes

VERL: tuple[Reliance, ...] = (
    Reliance(
        "verl.trainer.ppo.v1.agent_loop_tq:AgentLoopWorkerTQ",
        "rollout counts are passed to verl in this field only",
        remote_method_has("_run_prompt", "prompt.pop('__rollout_n__'"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.agent_loop_tq:AgentLoopManagerTQ.generate_sequences",
        "counts are written to the batch here",
        takes("prompts"),
    ),
    Reliance(
        "verl.trainer.main_ppo:TaskRunnerV1",
        "the rollout manager is named by agent_loop_manager_class",
        remote_method_has("init_agent_loop_manager", "'agent_loop_manager_class'"),
    ),
    Reliance(
        "verl.trainer.main_ppo:TaskRunnerV1",
        "verl has loaded its checkpoint, and the last step is known, before the records are cut back",
        remote_method_has("run", "self.trainer.init()\n        self.init_agent_loop_manager()"),
    ),
    Reliance(
        "verl.workers.config.rollout:AgentLoopConfig",
        "the recipe sets agent_loop_manager_class",
        takes("agent_loop_manager_class"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._build_replay_buffer",
        "the observer is named by custom_sampler",
        source_has("load_extern_type(custom_sampler.path, custom_sampler.name)"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.replay_buffer:ReplayBuffer.__init__",
        "the observer polls at a shorter interval",
        takes("poll_interval"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.replay_buffer:ReplayBuffer.sample",
        "rewards are observed when a batch is collected",
        takes("global_steps", "partition_id", "batch_size"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer.__init__",
        "the callback opens the session before the replay buffer is built",
        in_order("build_checkpoint_callback(", "_build_replay_buffer()"),
    ),
    Reliance(
        "verl.trainer.ppo.checkpoint_callback:CheckpointCallback.on_save",
        "the predictor's state is saved with the model",
        takes("trainer", "global_step", "checkpoint_dir", "async_save"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._save_checkpoint",
        "the state is in the folder before verl marks it complete",
        source_has("f'global_step_{self.global_steps}'", "'latest_checkpointed_iteration.txt'"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._load_checkpoint",
        "the resumed folder is found as verl finds it",
        source_has("find_latest_ckpt_path(checkpoint_folder)", "resume_from_path"),
    ),
    Reliance(
        "verl.utils.checkpoint.checkpoint_manager:find_latest_ckpt_path",
        "the resumed folder is found as verl finds it",
        takes("path"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._init_dataloader",
        "the number of the last step is known, so its state is written before verl marks it",
        source_has("self.config.actor_rollout_ref.actor.optim.total_training_steps ="),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer.fit",
        "the state is written in exactly the steps whose checkpoint verl marks",
        source_has("is_last_step or self.global_steps % self.config.trainer.save_freq == 0"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._fetch_one_gen_batch",
        "every prompt of a batch has its own uid, even if prompts are equal",
        source_has("batch_dict['uid']", "uuid.uuid4()"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._next_train_batch",
        "a batch is planned as a whole and knows its step",
        source_has("tu.assign_non_tensor_data(batch, 'global_steps', self.global_steps)"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._validate",
        "validation batches are marked, so they are neither planned nor learned from",
        source_has("tu.assign_non_tensor_data(batch, 'validate', True)"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._step_once",
        "the observer's metrics reach verl's tracker, and it observes before rows of padding are added",
        in_order("self.replay_buffer.sample(", "metrics.update(off_policy_metrics)", "self._balance_batch("),
    ),
    Reliance(
        "verl.utils.dataset.rl_dataset:RLHFDataset.__getitem__",
        "prompts are identified by their messages, and an index may be missing",
        source_has("row_dict['raw_prompt']", ".get('index', 0)"),
    ),
    Reliance(
        "verl.trainer.ppo.utils:create_rl_dataset",
        "the training set is embedded before the first step",
        takes("data_paths", "data_config", "tokenizer", "processor", "is_train", "max_samples"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._init_dataloader",
        "the prompts of a run are known before the first step",
        source_has("create_rl_sampler(self.config.data, self.train_dataset)"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.agent_loop_tq:AgentLoopWorkerTQ",
        "a failed session leaves the other rollouts of its prompt usable, and its group ends",
        remote_method_has("_run_prompt", "_settle_session_tasks(tasks)", "status = 'failure'"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.replay_buffer:ReplayBuffer._sampleable_terminal_keys",
        "groups with failed rollouts are trained on with the remaining ones",
        source_has("self.finished_keys[partition_id] | self.failure_keys[partition_id]"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.replay_buffer:ReplayBuffer.sample",
        "verl itself refuses a batch without rollouts",
        source_has("no materializable trajectories"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.agent_loop_tq:AgentLoopWorkerTQ",
        "response tokens are read from a row's tag",
        remote_method_has("_agent_loop_postprocess", "'response_len': response_len"),
    ),
    Reliance(
        "verl.experimental.agent_loop.agent_loop:AgentLoopManager._init_agent_loop_workers",
        "the agent-loop workers are watched",
        source_has("self.agent_loop_workers.append("),
    ),
    Reliance(
        "verl.experimental.agent_loop.agent_loop:AgentLoopOutput.as_dict",
        "a rollout's reward is the sum of its token rewards",
        source_has("rm_scores[-1] = reward_score"),
    ),
    Reliance(
        "verl.experimental.reward_loop.reward_manager.naive:NaiveRewardManager.run_single",
        "in validation, a scorer's accuracy is distinguished from its reward",
        source_has("reward_extra_info[key] = value", "reward_extra_info['acc'] = score", "'reward_extra_info'"),
    ),
    Reliance(
        "verl.experimental.agent_loop.single_turn_agent_loop:SingleTurnAgentLoop.run",
        "the seeded agent passes the seed of each rollout to the engine",
        takes("sampling_params", "priority"),
    ),
    Reliance(
        "verl.trainer.ppo.core_algos:agg_loss",
        "advantages are scaled for the divisor of the loss",
        takes("loss_agg_mode", "loss_scale_factor"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._update_actor",
        "the loss divides by the nominal number of rows of the mini-batch",
        source_has("ppo_mini_batch_size * self.config.actor_rollout_ref.rollout.n", "'global_batch_size'"),
    ),
    Reliance(
        "verl.trainer.ppo.core_algos:register_adv_est",
        "the advantage estimators are registered by name",
        takes("name_or_enum"),
    ),
    Reliance(
        "verl.trainer.ppo.ray_trainer:compute_advantage",
        "estimators receive the uid of every row",
        source_has("adv_kwargs['index'] = data.non_tensor_batch['uid']"),
    ),
    Reliance(
        "verl.trainer.ppo.padding_utils",
        "padding rows are recognised by their uid",
        lambda found: "pad" in inspect.getsource(found) and "is_padding" in inspect.getsource(found),
    ),
    Reliance("verl.utils.tensordict_utils:assign_non_tensor_stack", "counts are attached to the batch"),
    Reliance(
        "verl.utils.checkpoint.fsdp_checkpoint_manager:FSDPCheckpointManager.save_checkpoint",
        "checkpoints are found, and recognised as complete, by their files",
        source_has("f'model_world_size_{self.world_size}_rank_{self.rank}.pt'", "'fsdp_config.json'"),
    ),
    Reliance(
        "verl.model_merger.base_model_merger:parse_args",
        "shards are merged into a model with this command line",
        source_has("'--backend'", "'--local_dir'", "'--target_dir'"),
    ),
    Reliance("verl.utils.tensordict_utils:index_select_tensor_dict", "a further round takes some prompts of the batch"),
    Reliance(
        "verl.trainer.ppo.v1.agent_loop_tq:AgentLoopWorkerTQ",
        "a row's key contains its prompt and its rollout, numbered from zero in each group",
        remote_method_has("_agent_loop_postprocess", "keys.append(f'{uid}_{session_id}_{i}')"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._submit_batch_to_rollout",
        "a further round is announced to the replay buffer as the batch was",
        source_has("{'is_prompt': True, 'status': 'pending', 'global_steps': self.global_steps}"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.replay_buffer:ReplayBuffer._materialize_batch",
        "a collected group is removed, so only the next round is waited for",
        source_has("tq.kv_clear(partition_id=partition_id, keys=selected_prompt_uids)"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._get_required_batch_multiple",
        "rows that a strategy drops are padded to whole optimiser steps",
        source_has("ppo_mini_batch_size", "rollout.n", "math.lcm(required_multiple"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.replay_buffer:ReplayBuffer.sample",
        "a training step takes the prompts that were planned for it",
        source_has(
            "sampleable_keys = self._sampleable_terminal_keys(partition_id, eviction_reasons)",
            "has_enough_samples = len(sampleable_keys) >= batch_size",
        ),
    ),
    Reliance(
        "verl.trainer.ppo.v1.replay_buffer:ReplayBuffer._sync_metadata_from_transfer_queue",
        "a planned prompt that verl lost is distinguished from an unfinished one",
        source_has("self.pending_keys[partition_id].add(key)", "self.running_keys[partition_id].add(key)"),
    ),
    # For trainer.v1.trainer_mode=colocate_async.
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._add_async_warmup_batches",
        "batches are submitted whole, and those restored with a checkpoint are not submitted again",
        source_has("target_prompts - restored_prompts", "self._add_prompts_to_generate(missing_prompts)"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_colocate_async:PPOTrainerColocateAsync.on_train_begin",
        "num_warmup_batches is the number of batches in flight",
        source_has("self._add_async_warmup_batches(self.config.trainer.v1.colocate_async.num_warmup_batches)"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer.prepare_step",
        "every training step submits one batch before it takes one",
        source_has("self._add_batch_to_generate()"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._next_train_batch",
        "prompts that are fetched one by one are submitted, and planned, as a batch",
        source_has("tu.concat_tensordict(chunks)"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._submit_batch_to_rollout",
        "the replay buffer knows a prompt before it is planned",
        in_order("tq.kv_batch_put(", "self.agent_loop_manager.generate_sequences(batch)"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._save_checkpoint",
        "prompts in flight are saved with the model",
        source_has("tq.save_checkpoint(os.path.join(local_global_step_folder, 'transfer_queue')"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._load_checkpoint",
        "prompts in flight are restored before the rollout manager is built",
        source_has("os.path.join(global_step_folder, 'transfer_queue')", "tq.load_checkpoint(tq_ckpt_path)"),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._reissue_inflight_prompts",
        "prompts that were in flight are submitted again with the uids of their counts",
        source_has(
            "tq.kv_batch_get(keys=inflight_uids, partition_id=partition_id)",
            "self.agent_loop_manager.generate_sequences(batch)",
        ),
    ),
    Reliance(
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer.step",
        "a training step of colocate_async takes a whole batch",
        source_has("sample_batch_size = train_batch_size // self.parameter_sync_step"),
    ),
)

TRANSFER_QUEUE: tuple[Reliance, ...] = (
    Reliance(
        "transfer_queue:kv_batch_get",
        "raw rewards are read by key",
        takes("keys", "partition_id", "select_fields"),
    ),
    Reliance(
        "transfer_queue:kv_batch_put",
        "a further round is announced, and its rows get the uid of their prompt",
        takes("keys", "partition_id", "fields", "tags"),
    ),
    Reliance(
        "transfer_queue:kv_clear",
        "rows that a strategy does not keep are removed",
        takes("keys", "partition_id"),
    ),
    Reliance("transfer_queue:KVBatchMeta", "a collected batch is a list of keys"),
    Reliance(
        "transfer_queue:kv_list",
        "the prompts that verl restored are compared with the restored counts",
        takes("partition_id"),
    ),
)

CPU: tuple[Reliance, ...] = (
    Reliance("verl.plugin.platform:PlatformRegistry.register", "the CPU platform is registered by name"),
    Reliance("verl.plugin.platform:PlatformBase", "the CPU platform subclasses it"),
    Reliance(
        "verl.workers.engine.base:EngineRegistry.get_engine_cls",
        "the FSDP engine is chosen by VERL_ENGINE_DEVICE",
        source_has("os.getenv('VERL_ENGINE_DEVICE')"),
    ),
    Reliance(
        "verl.utils.distributed:initialize_global_process_group_ray",
        "an existing process group is kept",
        source_has("torch.distributed.is_initialized()"),
    ),
    Reliance(
        "verl.workers.rollout.vllm_rollout.bucketed_weight_transfer:BucketedWeightSender.__init__",
        "a weight transfer uses the shared ZeroMQ context, whose timeout ends a hang",
        source_has("zmq.Context.instance()"),
    ),
    Reliance(
        "vllm.model_executor.layers.utils:dispatch_cpu_unquantized_gemm",
        "vLLM's CPU layers are prevented from dropping their weights",
        takes("layer", "remove_weight"),
    ),
)

VLLM: tuple[Reliance, ...] = (
    Reliance(
        "vllm.v1.engine.llm_engine:LLMEngine.add_request",
        "an evaluation adds its requests to the engine one by one",
        takes("request_id", "prompt", "params"),
    ),
    Reliance("vllm.v1.engine.llm_engine:LLMEngine.step", "responses are kept as they finish"),
    Reliance("vllm.v1.engine.core_client:InprocClient.shutdown", "an engine is shut down before the next one starts"),
    Reliance("vllm.distributed:cleanup_dist_env_and_memory", "the device's memory is freed for the next model"),
)


#: What is known to break in other releases; `make contract` checks it. 0.9.0 has no checkpoint callback, so nothing
#: opens a session before the replay buffer is built or saves the predictor with the model. Its asynchronous trainers
#: submit other numbers of prompts.
BREAKS: dict[str, tuple[str, ...]] = {
    "0.9.0": (
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer.__init__",
        "verl.trainer.ppo.checkpoint_callback:CheckpointCallback.on_save",
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer._add_async_warmup_batches",
        "verl.trainer.ppo.v1.trainer_colocate_async:PPOTrainerColocateAsync.on_train_begin",
        "verl.trainer.ppo.v1.trainer_base:PPOTrainer.prepare_step",
    ),
    "0.9.1": (),
}


def problems(reliances: tuple[Reliance, ...]) -> list[str]:
    """Return what is wrong with the given reliances, one sentence each."""
    return [found for reliance in reliances if (found := reliance.problem()) is not None]
