"""The README names what is there."""

import doctest
import importlib
import re
import subprocess

import pytest
from fixtures import ROOT

README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make (\w+)", README)) - {"and"}))
def test_every_make_target_it_names_exists(target):
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_is_short():
    assert len(README.splitlines()) <= 120


def test_local_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_example_gives_what_it_says():
    # The package exports a function of the module's name, so that a plain import would give the function.
    module = importlib.import_module("verl_vip.allocation.allocate")
    tried = doctest.testmod(module, globs=vars(module).copy())
    assert (tried.attempted, tried.failed) == (1, 0)
    shown = re.search(r"allocate\(.*\)\n(tensor\(.*\))", README)
    assert shown is not None
    assert shown[1] in (module.allocate.__doc__ or "")
