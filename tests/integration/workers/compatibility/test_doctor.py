"""What `verl-vip doctor` finds and says while it checks; what it checks of verl is tested in `test_contract`."""

import importlib.metadata
from itertools import pairwise, takewhile

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from verl_vip.cli import main
from verl_vip.workers.compatibility import doctor
from verl_vip.workers.compatibility.doctor import Finding, examine


def versions_found():
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
    assert {subject: finding for subject, finding in versions_found().items() if finding.state != "ok"} == {}
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
    finding = versions_found()[name]
    assert (finding.state, finding.detail) == ("problem", f"0.0.1, but {wanted} is needed")
    assert finding.advice == f"pip install '{name}{wanted}'"


@pytest.fixture(scope="module")
def findings():
    """All findings but those of the CPU platform, for which another process imports verl."""
    return list(takewhile(lambda finding: finding.subject != "CPU platform", examine()))


def test_each_check_that_imports_for_seconds_is_announced_right_before_it(findings):
    announced = [pair for pair in pairwise(findings) if pair[0].state == "wait"]
    assert [(wait.subject, found.subject) for wait, found in announced] == [
        ("device", "device"),
        ("verl hooks", "verl hooks"),
    ]
    assert all(found.state != "wait" for _, found in announced)


def test_the_check_in_another_process_is_announced_before_it_runs(monkeypatch):
    monkeypatch.setattr(doctor.subprocess, "run", lambda *_, **__: pytest.fail("it ran before it was announced"))
    found = next(finding for finding in examine() if finding.subject == "CPU platform")
    assert found == Finding("wait", "CPU platform", "importing verl in a second process ...")


@pytest.mark.parametrize(("last", "status"), [("ok", 0), ("note", 0), ("problem", 1)])
def test_the_table_grows_line_by_line_and_its_exit_status_is_that_of_the_findings(monkeypatch, capsys, last, status):
    printed = []

    def checks():
        yield Finding("wait", "hooks", "importing verl")
        printed.append(capsys.readouterr().out)
        yield Finding(last, "hooks", "54", "install verl" if last == "problem" else "")

    monkeypatch.setattr(doctor, "examine", checks)
    assert main(["doctor"]) == status
    assert printed == [f"...   {'hooks':<24} importing verl\n"]
    assert ("-> install verl" in capsys.readouterr().out) == (last == "problem")
