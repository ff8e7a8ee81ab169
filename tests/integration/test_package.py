"""What `pip install .` puts where, and whether it runs from the folder of a clone."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from fixtures import ROOT


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """The files under version control, as `git clone` lays them out."""
    folder = tmp_path_factory.mktemp("clone")
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for name in listing.stdout.splitlines():
        if os.path.lexists(ROOT / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


@pytest.fixture(scope="module")
def wheel_path(clone, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(clone, source, symlinks=True)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder, source]
    subprocess.run(pip, timeout=100, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(wheel_path) -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel_path)


@pytest.fixture(scope="module")
def installed(wheel_path, tmp_path_factory) -> Path:
    """The programs of an environment with a plain install of the wheel; third-party packages are this one's."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], timeout=100, check=True)
    programs = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "install", "--no-deps", "-q", wheel_path]
    subprocess.run(pip, timeout=100, check=True)
    (own,) = folder.glob("lib/python*/site-packages")
    # A line of a .pth file comes behind the environment's own packages, and that folder's own .pth files, of which
    # one is the editable install, are not read.
    (own / "stack.pth").write_text(sysconfig.get_path("purelib"))
    return programs


@pytest.fixture(params=["the clone", "elsewhere"])
def place(request, clone, tmp_path) -> Path:
    return clone if request.param == "the clone" else tmp_path


def run_there(place: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=110, check=False)


def test_verl_finds_a_recipe_from_anywhere(installed, place):
    words = ("-m", "verl.trainer.main_ppo", "--config-path=pkg://verl_vip.recipes", "--config-name=qwen_math_rloo")
    done = run_there(place, installed / "python", *words, "--cfg=job")
    assert done.returncode == 0, done.stderr
    assert "adv_estimator: vip_rloo" in done.stdout


def test_verl_takes_the_two_overrides_from_anywhere(installed, place):
    words = ("-m", "verl.trainer.main_ppo", "hydra.searchpath=[pkg://verl_vip.recipes]", "+vip=dr_grpo")
    done = run_there(place, installed / "python", *words, "--cfg=job")
    assert done.returncode == 0, done.stderr
    assert "adv_estimator: vip_dr_grpo" in done.stdout


@pytest.mark.parametrize("room", ["workers.session", "flows.train", "recipes.demo.training"])
def test_every_room_is_imported_from_anywhere(installed, place, room):
    done = run_there(place, installed / "python", "-c", f"import verl_vip.{room}")
    assert done.returncode == 0, done.stderr


def test_a_job_of_the_command_finds_its_recipe_from_anywhere(installed, place):
    done = run_there(place, installed / "verl-vip", "train", "no_such_recipe")
    assert "there is no recipe 'no_such_recipe'" in done.stderr


def test_one_name_at_the_top_level(wheel):
    assert {name.split("/")[0] for name in wheel.namelist()} == {"verl_vip", "verl_vip-0.1.0.dist-info"}


@pytest.mark.parametrize("room", ["verl_vip", "workers", "flows", "recipes"])
def test_every_module_and_recipe_is_installed(wheel, room):
    prefix = "" if room == "verl_vip" else "verl_vip/"
    sources = [
        path
        for path in (ROOT / room).rglob("*")
        if path.suffix in (".py", ".yaml", ".html", ".css", ".jsonl", ".typed")
    ]
    assert sources
    missing = [path for path in sources if f"{prefix}{path.relative_to(ROOT)}" not in wheel.namelist()]
    assert not missing


def test_entry_points_and_metadata(wheel):
    folder = "verl_vip-0.1.0.dist-info"
    points = wheel.read(f"{folder}/entry_points.txt").decode()
    assert "verl-vip = verl_vip.cli:main" in points
    assert "[verl.plugins]\nverl_vip_cpu = verl_vip.workers.compatibility.cpu_platform\n" in points
    assert "[vllm.general_plugins]\nverl_vip_cpu = verl_vip.workers.compatibility.cpu_platform:activate_vllm" in points
    metadata = wheel.read(f"{folder}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: <3.13,>=3.11" in metadata
    for extra in ("gpu", "cpu", "flows", "evaluation"):
        assert f"Provides-Extra: {extra}" in metadata
