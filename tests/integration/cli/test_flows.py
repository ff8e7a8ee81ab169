"""Words in any order become the parameters of a flow, or are refused before anything is started."""

import pytest

from verl_vip.cli import flows, main


@pytest.fixture
def asked(monkeypatch) -> list[dict]:
    """What the flows would be called with."""
    calls: list[dict] = []
    monkeypatch.setattr(
        flows, "_run_flow", lambda name, /, **parameters: calls.append({"flow": name, **parameters}) or 0
    )
    return calls


@pytest.mark.parametrize(
    "words",
    [
        ["--name", "first", "demo", "a=1", "b=2"],
        ["demo", "--name", "first", "a=1", "b=2"],
        ["demo", "a=1", "--name", "first", "b=2"],
        ["demo", "a=1", "b=2", "--name", "first"],
    ],
)
def test_options_and_overrides_in_any_order(asked, words):
    assert main(["train", *words]) == 0
    assert (asked[0]["recipe"], asked[0]["name"], asked[0]["overrides"]) == ("demo", "first", ["a=1", "b=2"])


def test_no_override_at_all(asked):
    assert main(["train", "demo"]) == 0
    assert asked[0]["overrides"] == []


@pytest.mark.parametrize("folder", ["plain", "split=test", "a=b=c", "ü ,("])
@pytest.mark.parametrize("name", ["", "own="])
def test_a_benchmark_of_a_job_is_named_by_its_absolute_path(asked, tmp_path, monkeypatch, folder, name):
    file = tmp_path / folder / "x.jsonl"
    file.parent.mkdir()
    (tmp_path / "content").touch()
    file.symlink_to(tmp_path / "content")  # a link's own name is the benchmark's
    monkeypatch.chdir(tmp_path)
    words = ["--benchmark", f"{name}{folder}/x.jsonl", "--benchmark", "offline", "--root", "r"]
    assert main(["evaluate-run", "a", *words]) == 0
    assert asked[0]["benchmarks"] == [f"{name}{file}", "offline"]


def test_values_of_the_environment_may_hold_anything(asked):
    assert main(["train", "demo", "--env", "A=b=c", "--env", "B="]) == 0
    assert asked[0]["environment"] == {"A": "b=c", "B": ""}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("'", "must be words as in a shell"),
        ("--temperature 0", "greedy decoding gives the same sample 16 times"),
        ("--top-p 2", "--top-p must be above 0"),
        ("--engine eager", "give KEY=VALUE"),
        ("--output elsewhere", "leave them out of --options"),
        ("--steps 6", "leave them out of --options"),
        ("--max-tokns 5", "unrecognized arguments: --max-tokns 5"),
        ("--n x", "must be options of `verl-vip evaluate`: argument --n: invalid int value: 'x'."),
        ("more", "unrecognized arguments: more"),
        ("--help", "leave out the request for help"),
    ],
)
@pytest.mark.parametrize("command", [["evaluate-run", "a"], ["pipeline", "demo"]])
def test_options_for_the_job_are_read_before_it(asked, capsys, command, options, message):
    assert main([*command, "--benchmark", "offline", f"--options={options}"]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert not asked


@pytest.mark.parametrize("budgets", ["²", "4,x", "-1", "9" * 5000])
def test_budgets_that_are_no_numbers(asked, capsys, budgets):
    assert main(["sweep", "demo", "--budgets", budgets]) == 2
    assert "--budgets takes whole numbers such as 4,8,16; got" in capsys.readouterr().err
    assert not asked


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "dmeo"], "did you mean demo?"),
        (["train", "demo", "vip.uper=3"], "Could not override 'vip.uper'"),
        (["pipeline", "demo", "a=b=c", "--benchmark", "offline"], "if its value is text, quote it"),
        (["sweep", "demo", "vip.lower=0"], "vip.lower must be a whole number from 1 to 1e+06; got 0"),
        (["train", "demo", "--env", "=x"], "cannot have the environment variable ''='x'"),
        (["evaluate-run", "a", "--benchmark", "offline", "--options", "'"], "--options must be words as in a shell"),
        (["evaluate-run", "a", "--benchmark", "offline", "--options", "a\\"], "--options must be words as in a shell"),
        (
            ["evaluate-run", "a", "--benchmark", "offline", "--options=--instruction \0"],
            "must not contain a NUL character",
        ),
        (["sweep", "demo", "--seeds", "0"], "seeds must be a whole number from 1 to 1e+06; got 0."),
        (["evaluate-run", "a", "--benchmark", "offline", "--n", "0"], "--n must be at least 1 and at most a million."),
        (["evaluate-run", "a", "--benchmark", "aime99"], "there is no benchmark 'aime99'; give aime24"),
        (["evaluate-run", "nothere", "--benchmark", "offline"], "there is no run nothere in"),
        (["train", "demo", "--cluster", "foo"], "a cluster is named by its dashboard's address"),
        (["sweep", "demo", "--cluster", "head:8265"], "a cluster is named by its dashboard's address"),
        (["evaluate-run", "a", "--benchmark", "offline", "--follow", "--cluster", "foo"], "a cluster is named by"),
        (["pipeline", "demo", "--benchmark", "offline", "--cluster", "foo"], "a cluster is named by"),
        (["train", "demo", "vip.budget=100"], "vip.budget=100 is not a multiple of the 256 rollouts"),
        (["pipeline", "demo", "vip.upper=4", "--benchmark", "offline"], "cannot hold the budget"),
        (["sweep", "demo", "--budgets", "99,4"], "cannot hold the budget"),
        (["pipeline", "demo", "--name", "../up", "--benchmark", "offline"], "cannot name a run"),
        (["train", "demo", "--name", "a" * 101], "cannot name a run"),
        (
            ["evaluate-run", "a", "--benchmark", "offline", "--benchmark", "offline"],
            "two benchmarks have the same name",
        ),
        (["pipeline", "demo", "--benchmark", f"../x={__file__}"], "cannot name a benchmark"),
        (["pipeline", "demo", "--benchmark", f"model={__file__}", "--cluster", "http://no.invalid"], "cannot name a"),
    ],
)
def test_what_a_flow_cannot_do_is_refused_before_a_server_is_started(composed_here, capfd, words, message):
    pytest.importorskip("prefect")
    assert main(words) == 2
    shown = capfd.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
