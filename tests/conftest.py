"""What tests of several rooms need."""

import gc
import os
import subprocess
from pathlib import Path

import hypothesis
import pytest

pytest_plugins = ["fixtures.compositions", "fixtures.evaluations", "fixtures.records", "fixtures.simulation"]

# What an example takes says nothing on a machine that does other work beside it.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collect without searching for garbage: what the tests import stays, and each search takes a second."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Matrices are small here, and on a busy machine threads wait for each other far longer than they work."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_synced_to_disk():
    """What a test writes need not survive a power failure, and waiting for the disk takes half of some tests' time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_starts(request):
    """The processes of heavy tests start sooner: a fifth of importing verl or vLLM is the collection of garbage."""
    if not any(item.get_closest_marker("heavy") for item in request.session.items):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent / "fixtures" / "startup"), prepend=os.pathsep)
        yield


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of two megabytes, which may be filled."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, timeout=10, check=False).returncode != 0:
        pytest.skip("a file system of its own needs the right to mount one")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], timeout=10, check=True)
