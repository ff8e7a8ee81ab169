"""The command's door: words in any order, and a sentence instead of a traceback."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

from verl_vip import cli
from verl_vip.cli import main


@pytest.fixture
def asked(monkeypatch) -> list[dict]:
    """What the flows would be called with."""
    calls: list[dict] = []
    monkeypatch.setattr(cli, "_run_flow", lambda name, /, **parameters: calls.append({"flow": name, **parameters}) or 0)
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


@pytest.mark.parametrize("words", [["train", "demo", "--nmae", "x"], ["doctor", "now"]])
def test_words_that_nobody_knows(asked, capsys, words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert f"unrecognized arguments: {' '.join(words[-2:] if words[0] == 'train' else words[-1:])}" in (
        capsys.readouterr().err
    )
    assert not asked


def test_a_recipe_is_all_that_is_missing(capsys):
    with pytest.raises(SystemExit):
        main(["train"])
    assert capsys.readouterr().err.endswith("required: recipe\n")


def test_a_benchmark_may_be_named_in_several_ways():
    words = ["evaluate", "m", "--output", "o", "--benchmark", "a", "b", "--benchmark", "c"]
    assert cli._options(words).benchmark == ["a", "b", "c"]


@pytest.mark.parametrize("command", ["report", "simulate"])
def test_a_place_that_cannot_be_written_to_is_named(tmp_path, capsys, command):
    (tmp_path / "file").touch()
    (tmp_path / "vip_records.jsonl").write_text(
        '{"kind": "run", "started_at": 0, "settings": {}, "versions": {}, "prompts_per_step": 1, "budget": 1}\n'
    )
    words = {"report": [str(tmp_path), "--output", str(tmp_path / "file" / "r.html")], "simulate": ["--output"]}[
        command
    ]
    assert main([command, *words, *([str(tmp_path / "file")] if command == "simulate" else [])]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"verl-vip: {tmp_path}/file")
    assert "cannot be used: " in error
    assert error.count("\n") == 1


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_report", interrupt)
    assert main(["report", "x"]) == 130
    assert capsys.readouterr().err == "verl-vip: stopped.\n"


def test_a_reader_that_has_seen_enough():
    read, write = os.pipe()
    os.close(read)
    code = (
        "import sys; from verl_vip import cli; cli._report = lambda _: print('much') or 0;"
        "sys.exit(cli.main(['report', 'x']))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


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


#: A larger campaign sets these.
FUZZ_CASES = int(os.environ.get("VERL_VIP_FUZZ_CASES", "300"))
FUZZ_SEED = int(os.environ.get("VERL_VIP_FUZZ_SEED", "0"))
ODD_WORDS = [
    *("", " ", "0", "-1", "1", "2.5", "nan", "inf", "-inf", "1e400", "9" * 5000, "9" * 30, "²", "٣", "x", "=", "a=b"),
    *("a=[", "é", "\udcff", "\0", "a\nb", "/", "/dev/null/x", "/dev/null", "../up", "a" * 300, "offline", "b=offline"),
    *(",", "vip,vip", "vip,vipp", "oracle", "demo", "'", "--", "-x", "--help", "http://127.0.0.1:1", "${x}", "~"),
    *("vip.upper=9", "~vip", "+a=", "dtype=float32", "dtype", "--n 2", "--n x", "pkg://json:dumps", "no.py:f"),
]


class StartedError(BaseException):
    """Something that costs time was about to begin."""


@pytest.fixture
def nothing_begins(monkeypatch):
    """Lets everything be checked, and ends with `StartedError` where sampling, simulating or a flow would begin."""
    pytest.importorskip("prefect")
    import verl_vip.evaluate
    import verl_vip.simulation.comparison
    from verl_vip.flows.training_run import TrainingRun

    def begin(*_, **__):
        raise StartedError

    monkeypatch.setattr(verl_vip.evaluate.Evaluator, "run", begin)
    monkeypatch.setattr(verl_vip.simulation.comparison, "simulate", begin)
    monkeypatch.setattr(TrainingRun, "check", lambda _: "")  # composing takes seconds, and has tests of its own
    for flow in ("train", "evaluate", "pipeline", "sweep"):
        monkeypatch.setitem(sys.modules, f"verl_vip.flows.{flow}", SimpleNamespace(**{flow: begin}))
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def odd_commands(seed, number, model):
    """Yield commands that are right, with up to three options and words that are odd."""
    draw = random.Random(seed)
    right = {
        "train": ["demo"],
        "pipeline": ["demo", "--benchmark", "offline"],
        "sweep": ["demo"],
        "evaluate-run": ["a", "--benchmark", "offline"],
        "evaluate": [str(model), "--benchmark", "offline", "--output", "out"],
        "simulate": ["--output", "out"],
        "report": ["nothing-here"],
    }
    (commands,) = (action.choices for action in cli._parser()._actions if isinstance(action.choices, dict))
    for _ in range(number):
        command = draw.choice(sorted(right))
        options = [option for action in commands[command]._actions for option in action.option_strings[:1]]
        words = [*right[command]]
        for _ in range(draw.choice((1, 1, 2, 3))):
            added = [draw.choice(options), draw.choice(ODD_WORDS)] if draw.random() < 0.85 else [draw.choice(ODD_WORDS)]
            words += [f"{added[0]}={added[1]}"] if len(added) > 1 and draw.random() < 0.5 else added
        yield [command, *words]


def test_odd_words_are_answered_in_words(tmp_path, monkeypatch, capsys, nothing_begins):
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_text("weights")
    seen = Counter()
    for words in odd_commands(FUZZ_SEED, FUZZ_CASES, model):
        try:
            status = main(words)
        except StartedError:
            seen["started"] += 1
        except SystemExit:  # argparse has said what is wrong, or printed the help
            seen["usage"] += 1
            said = capsys.readouterr()
            assert "error: " in said.err or said.out.startswith("usage: verl-vip"), words
        except Exception as error:
            raise AssertionError(f"{words}: {error!r}") from error
        else:
            said = capsys.readouterr().err.splitlines()
            assert status == 0 or (status, said[-1].partition(" ")[0]) == (2, "verl-vip:"), (words, said)
            seen["refused"] += status == 2
    assert min(seen["started"], seen["usage"], seen["refused"]) > 20, seen
