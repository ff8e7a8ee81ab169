"""What `pip install .` puts where, and whether it runs from the folder of a clone."""

import json
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
    subprocess.run(pip, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(wheel_path) -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel_path)


@pytest.fixture(scope="module")
def installed(wheel_path, tmp_path_factory) -> Path:
    """The programs of an environment with a plain install of the wheel; third-party packages are this one's."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    programs = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "install", "--no-deps", "-q", wheel_path]
    subprocess.run(pip, check=True)
    (own,) = folder.glob("lib/python*/site-packages")
    # A line of a .pth file comes behind the environment's own packages, and that folder's own .pth files, of which
    # one is the editable install, are not read.
    (own / "stack.pth").write_text(sysconfig.get_path("purelib"))
    return programs


#: verl's command with each of two sets of words, and an import of each room; in one process, because importing verl
#: takes ten seconds. A job is started with `-m`, which looks for modules in the current folder first, as `-c` does.
TRIED = """
import contextlib, importlib, io, json, sys
from verl.trainer import main_ppo
said = {}
for name, words in json.loads(sys.argv[1]).items():
    sys.argv = ["main_ppo", *words, "--cfg=job"]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        main_ppo.main()
    said[name] = output.getvalue()
for room in ("workers.session", "flows.train", "recipes.demo.training"):
    said[room] = importlib.import_module("verl_vip." + room).__file__
print(json.dumps(said))
"""
WORDS = {
    "recipe": ["--config-path=pkg://verl_vip.recipes", "--config-name=qwen_math_rloo"],
    "overrides": ["hydra.searchpath=[pkg://verl_vip.recipes]", "+vip=dr_grpo"],
}


@pytest.fixture(scope="module", params=["the clone", "elsewhere"])
def place(request, clone, tmp_path_factory) -> Path:
    return clone if request.param == "the clone" else tmp_path_factory.mktemp("elsewhere")


def run_there(place: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def said(installed, place) -> dict[str, str]:
    """What a process in that place says of verl's command and of each room."""
    done = run_there(place, installed / "python", "-c", TRIED, json.dumps(WORDS))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.heavy
def test_verl_finds_a_recipe_from_anywhere(said):
    assert "adv_estimator: vip_rloo" in said["recipe"]


@pytest.mark.heavy
def test_verl_takes_the_two_overrides_from_anywhere(said):
    assert "adv_estimator: vip_dr_grpo" in said["overrides"]


@pytest.mark.heavy
@pytest.mark.parametrize("room", ["workers.session", "flows.train", "recipes.demo.training"])
def test_every_room_is_imported_from_anywhere(said, room):
    assert Path(said[room]).is_file()


@pytest.mark.heavy
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
