"""What `verl-vip doctor` says while it checks; what it checks of verl is tested in `test_contract`."""

from itertools import pairwise, takewhile

import pytest

from verl_vip import cli
from verl_vip.workers.compatibility import doctor
from verl_vip.workers.compatibility.doctor import Finding, examine


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
    assert cli.main(["doctor"]) == status
    assert printed == [f"...   {'hooks':<24} importing verl\n"]
    assert ("-> install verl" in capsys.readouterr().out) == (last == "problem")
