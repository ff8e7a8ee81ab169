"""Samples responses on a Ray cluster with several vLLM engines; each is an actor with a share of the requests."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from verl_vip.errors import ConfigError, IntegrationError, VerlVipError
from verl_vip.evaluation.sampling import Request, Response, SamplingSettings
from verl_vip.execution.ray_variables import PRIVATE_RAY, refuse_secrets
from verl_vip.workers.sampling.vllm_sampler import VllmSampler

#: Variables of this shell that engines on a cluster get too. None of them is a secret.
PASSED_ON = (
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "VERL_PLATFORM",
    "VLLM_CPU_KVCACHE_SPACE",
    "VLLM_CPU_OMP_THREADS_BIND",
    "VLLM_LOGGING_LEVEL",
    "VLLM_TARGET_DEVICE",
)


class RaySampler:
    """Data-parallel sampling. The model's folder must be readable on every node.

    Args:
        options: Arguments of `vllm.LLM`, for every engine.
        engines: The number of engines.
        address: The address of a running cluster; None starts a private one, which listens on the loopback address.
        variables: `NAME` or `NAME=VALUE`, for the engines of a running cluster; `NAME` alone takes this shell's value.

    Raises:
        ConfigError: If `engines` is not positive, a variable is not set or looks like a secret, or variables are given
            without a cluster.
    """

    def __init__(
        self, options: Mapping[str, Any], engines: int, address: str | None, variables: Sequence[str] = ()
    ) -> None:
        if engines < 1:
            raise ConfigError("--engines must be at least 1.")
        self._environment = engine_environment(address, variables, os.environ)
        if address is None:
            for name, value in PRIVATE_RAY.items():
                os.environ.setdefault(name, value)  # Ray reads it when it is imported, which is later
        self._options = dict(options)
        self._engines = engines
        self._address = address

    def versions(self) -> dict[str, str]:
        """Return the versions on this machine; the nodes are assumed to have the same."""
        return VllmSampler(self._options).versions()

    def sample(self, model: Path, requests: Sequence[Request], settings: SamplingSettings) -> Iterator[list[Response]]:
        """Yield responses as they finish, from all engines.

        Raises:
            ConfigError: If the cluster is too small for the engines or cannot be reached.
            IntegrationError: If an engine's process dies.
        """
        import ray

        _connect(ray, self._address, self._engines, self._environment)
        actors: list[Any] = []
        try:
            gpus = gpus_per_engine(ray, self._options, self._engines)
            remote = ray.remote(num_cpus=1, num_gpus=gpus)(VllmSampler)
            shares = [requests[k :: self._engines] for k in range(min(self._engines, len(requests)))]
            actors = [remote.remote(self._options) for _ in shares]
            streams = [
                actor.sample.options(num_returns="streaming").remote(model, share, settings)
                for actor, share in zip(actors, shares, strict=True)
            ]
            while streams:
                (ready,), _ = ray.wait(streams, num_returns=1)
                try:
                    yield ray.get(next(ready))
                except StopIteration:
                    streams.remove(ready)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, VerlVipError):
                raise error.cause from error
            raise
        except ray.exceptions.RayActorError as error:
            raise IntegrationError(
                f"an engine died ({error}); run the same command again, which samples only the missing responses."
            ) from error
        finally:
            for actor in actors:
                ray.kill(actor)
            ray.shutdown()


def engine_environment(address: str | None, variables: Sequence[str], shell: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are passed to Ray for the engines; `ray_variables` says who can read them there.

    The engines of a private Ray inherit this shell's environment, and it is not passed to Ray.

    Args:
        address: The address of a running cluster; None for a private Ray.
        variables: `NAME` or `NAME=VALUE`, in addition to `PASSED_ON`.
        shell: This shell's environment.

    Raises:
        ConfigError: As in `RaySampler`.
    """
    # Engines that share a CPU must not all be pinned to its first cores.
    unpinned = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    if address is None:
        if variables:
            raise ConfigError(
                "--env is for the engines of a running cluster (--ray-address); without one, engines inherit every "
                "variable."
            )
        return {name: value for name, value in unpinned.items() if name not in shell}
    named = {}
    for word in variables:
        name, given, value = word.partition("=")
        if not name.isidentifier() or not (given or name in shell):
            raise ConfigError(f"--env {word}: give NAME=VALUE, or the NAME of a variable that this shell has.")
        named[name] = value if given else shell[name]
    refuse_secrets(named, address)
    return {**unpinned, **{name: shell[name] for name in PASSED_ON if name in shell}, **named}


def _connect(ray: Any, address: str | None, engines: int, environment: Mapping[str, str]) -> None:
    own = {"num_cpus": max(engines, os.cpu_count() or 1), "include_dashboard": False} if address is None else {}
    try:
        ray.init(
            address=address or "local",
            runtime_env={"env_vars": dict(environment)},
            log_to_driver=False,
            logging_level="WARNING",
            **own,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"no Ray cluster responds at {address} ({error}); start it, or correct --ray-address."
        ) from error


def gpus_per_engine(ray: Any, options: Mapping[str, Any], engines: int) -> int:
    """Return the number of GPUs of one engine; 0 on a cluster without GPUs.

    Raises:
        ConfigError: If the cluster has too few GPUs, or an option is not a number.
    """
    there = int(ray.cluster_resources().get("GPU", 0))
    sizes = {name: options.get(name, 1) for name in ("tensor_parallel_size", "pipeline_parallel_size")}
    if wrong := [f"{name}={size}" for name, size in sizes.items() if not isinstance(size, int) or size < 1]:
        raise ConfigError(f"--engine {wrong[0]} is not a number of GPUs.")
    each = math.prod(map(int, sizes.values()))
    if there == 0:
        return 0
    if engines * each > there:
        raise ConfigError(f"{engines} engines of {each} GPUs do not fit on a cluster with {there}; lower --engines.")
    return each
