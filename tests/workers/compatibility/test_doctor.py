"""Versions that work are read from metadata; what is installed is compared with them."""

import importlib.metadata

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from verl_vip.workers.compatibility import doctor


def findings():
    return {finding.subject: finding for finding in doctor._packages()}


def test_every_package_that_is_looked_for_has_its_versions_in_metadata():
    wanted = doctor.wanted_versions()
    assert {name for name in (*doctor.PACKAGES, *doctor.OPTIONAL) if not str(wanted[canonicalize_name(name)])} == set()
    ours = [Requirement(line) for line in importlib.metadata.requires("verl-vip")]
    (torch,) = (one for one in ours if one.name == "torch")
    assert wanted["torch"] == torch.specifier


def test_pins_of_the_cpu_extra_are_no_limits():
    pinned = {
        canonicalize_name(one.name): one.specifier
        for one in map(Requirement, importlib.metadata.requires("verl-vip"))
        if one.marker is not None and one.marker.evaluate({"extra": "cpu"})
    }
    assert pinned["transferqueue"] == SpecifierSet("==0.1.11")
    assert doctor.wanted_versions()["transferqueue"].contains("0.1.10")


def test_what_is_installed_here_works():
    assert {subject: finding for subject, finding in findings().items() if finding.state != "ok"} == {}
    assert doctor._python().state == "ok"


@pytest.mark.parametrize("name", [*doctor.PACKAGES, *doctor.OPTIONAL])
def test_another_version_is_named_with_what_to_install(name, tmp_path, monkeypatch):
    wanted = doctor.wanted_versions()[canonicalize_name(name)]
    folder = tmp_path / f"{name.replace('-', '_')}-0.0.1.dist-info"
    folder.mkdir()
    requires = importlib.metadata.requires(name) or []
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 0.0.1", *(f"Requires-Dist: {one}" for one in requires)]
    (folder / "METADATA").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    finding = findings()[name]
    assert (finding.state, finding.detail) == ("problem", f"0.0.1, and {wanted} is needed")
    assert finding.advice == f"pip install '{name}{wanted}'"
