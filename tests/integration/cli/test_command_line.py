"""A sentence instead of a traceback, and a help that a newcomer can use."""

import os
import random
import shlex
import signal
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

from verl_vip.cli import main
from verl_vip.cli.command import parse
from verl_vip.cli.command_line import COMMANDS


@pytest.mark.parametrize("words", [["train", "demo", "--nmae", "x"], ["doctor", "now"]])
def test_words_that_nobody_knows(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert f"unrecognized arguments: {' '.join(words[-2:] if words[0] == 'train' else words[-1:])}" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(("words", "missing"), [([], "COMMAND"), (["train"], "RECIPE")])
def test_a_word_that_is_missing_is_named(capsys, words, missing):
    with pytest.raises(SystemExit):
        main(words)
    assert capsys.readouterr().err.endswith(f"required: {missing}\n")


def test_the_help_lists_every_command_in_a_line_of_its_own(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines[lines.index("commands:") + 1 :] if line.startswith("  ")]
    assert listed == [command.name for command in COMMANDS]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_help_of_a_command_says_what_it_and_each_of_its_words_is(command):
    parser = command.parser()
    described = " ".join(parser.format_help().split())
    assert command.summary[1:] in described
    assert [action.dest for action in parser._actions if not action.help] == []


EXAMPLES = [(command, example) for command in COMMANDS for example in command.examples]


@pytest.mark.parametrize(("command", "example"), EXAMPLES, ids=[example for _, example in EXAMPLES])
def test_an_example_of_the_help_is_right(command, example):
    words = shlex.split(example)
    after = words.index("verl-vip") + 1
    assert words[after] == command.name
    parse(command.parser(), words[after + 1 :])


def test_a_command_is_described_without_its_dependencies():
    heavy = ("numpy", "torch", "scipy", "verl", "vllm", "ray", "prefect", "pydantic")
    code = (
        "import sys; from verl_vip.cli.command_line import COMMANDS, _parser;"
        "_parser().format_help(); [command.parser().format_help() for command in COMMANDS];"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("output", [".", "/", "..", "{}"])
@pytest.mark.parametrize("command", ["report", "forecast"])
def test_a_folder_instead_of_a_file_is_refused_at_once(tmp_path, capsys, monkeypatch, command, output):
    monkeypatch.chdir(tmp_path)
    place = output.format(tmp_path)
    assert main([command, "nothing-here", "--output", place]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"verl-vip: {place} is a folder; give a file for the page, such as ")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


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
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("verl_vip.reporting.report.write_report", interrupt)
    assert main(["report", "x"]) == 130
    assert capsys.readouterr().err == "verl-vip: stopped.\n"


def test_a_reader_that_has_seen_enough():
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "verl_vip.cli", "doctor"]
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


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
    parsers = {command.name: command.parser() for command in COMMANDS}
    for _ in range(number):
        command = draw.choice(sorted(right))
        options = [option for action in parsers[command]._actions for option in action.option_strings[:1]]
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
