"""CONTRIBUTING.md names what is there."""

import re
import subprocess
from pathlib import Path

import pytest
from fixtures import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
TREE = TEXT.partition("## The tree")[2].partition("\n## ")[0]


def test_tree_has_a_line_for_every_folder_and_no_other():
    rooms = ("verl_vip", "workers", "flows", "recipes", "benchmarks", "docs", "environment", "tests")
    listed: list[str] = []
    for indent, name in re.findall(r"^( *)(\w+)/ ", TREE, flags=re.MULTILINE):
        listed.append(f"{listed_room(listed)}/{name}" if indent else name)
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    folders = {Path(name).parent for name in tracked.stdout.splitlines()} - {Path()}
    there = {"/".join(folder.parts[:2]) for folder in folders if folder.parts[0] in rooms}
    assert sorted(listed) == sorted(there)


def listed_room(listed: list[str]) -> str:
    return next(name for name in reversed(listed) if "/" not in name)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([\w-]+)", TEXT))))
def test_every_make_target_it_names_exists(target):
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_local_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in link]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
