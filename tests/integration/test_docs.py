"""The documentation says what the code and the result files say."""

import ast
import os
import re
import subprocess
import sys
from functools import cache

import pytest
import yaml
from fixtures import ROOT


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_generated_pages_are_up_to_date():
    done = run("docs/generate.py", "--check")
    assert done.returncode == 0, done.stderr


def test_the_site_builds_without_a_broken_link(tmp_path):
    done = run("-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "settings" / "index.html").stat().st_size > 10_000


def test_the_characters_that_need_quotes_are_those_of_hydra():
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    page = (ROOT / "docs" / "workflows.md").read_text()
    free, quoted = re.search(r"the characters\s`(\S(?: \S)+)`\..*?each of\s``(\S(?: \S)+) ``", page, re.DOTALL).groups()
    parser = OverridesParser.create()

    def is_free(character):
        text = f"/a{character}b"
        try:
            return parser.parse_overrides([f"key={text}"])[0].value() == text
        except HydraException:
            return False

    others = {character for character in map(chr, range(33, 127)) if not character.isalnum()}
    assert set(free.split()) == set(filter(is_free, others))
    assert set(quoted.split()) == others - set(free.split())
    assert not is_free("é")


def test_the_hooks_on_the_page_are_those_of_the_preset():
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "verl.md").read_text(), re.MULTILINE | re.DOTALL)
    preset = yaml.safe_load((ROOT / "recipes" / "vip" / "rloo.yaml").read_text())
    del preset["vip"]
    assert yaml.safe_load(shown) == preset


def test_every_message_in_troubleshooting_is_one_that_the_code_can_give():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    quoted = re.findall(r"^### (.+)$", page, flags=re.MULTILINE)
    assert len(quoted) >= 30
    assert len(set(quoted)) == len(quoted)
    messages = _messages_in_the_code()
    assert not [line for line in quoted if not _is_given(line, messages)]


@pytest.mark.parametrize(
    "line",
    [
        "the config has no `vip` section",
        "vip.lower=NUMBER is too large for vip.objective=OBJECTIVE",
        "another process is",  # ends within a clause
        "is finished (step STEP of LAST), with other settings",  # begins within a message
        "the predictor cannot resume from the checkpoint in FOLDER",
        "CLUSTER uses WHAT authentication and refused this process",  # no placeholder there
        "Every error that verl-vip raises on purpose.",  # a docstring
        "NAME",
    ],
)
def test_a_message_that_no_code_gives_is_noticed(line):
    assert not _is_given(line, _messages_in_the_code())


#: Stands in a message for what is put in when it is given.
_GAP = "\0"


def _is_given(line: str, messages: list[str]) -> bool:
    """Whether a message begins with a heading, up to the end of a clause; words in capitals may stand for gaps."""
    words = re.split(r"\b([A-Z]{2,})\b", line)
    pattern = "".join(f"(?:{_GAP}|{w})" if re.fullmatch(r"[A-Z]{2,}", w) else re.escape(w) for w in words)
    whole = re.compile(pattern + r"(?=[;:,.]( |$)| [(\[]|$)")
    return bool(re.search(r"[a-z]{2}", line)) and any(whole.match(message) for message in messages)


@cache
def _messages_in_the_code() -> list[str]:
    """Return every text of the code but docstrings, in one piece, with a gap for each value that is put in."""
    found: list[str] = []
    for room in ("verl_vip", "workers", "flows", "recipes"):
        for path in (ROOT / room).rglob("*.py"):
            nodes = list(ast.walk(ast.parse(path.read_text())))
            # Neither the pieces of a formatted text nor a docstring is a message.
            pieces = {id(piece) for node in nodes if isinstance(node, ast.JoinedStr) for piece in node.values}
            pieces |= {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
            for node in nodes:
                match node:
                    case ast.JoinedStr(values=parts):
                        found.append("".join(p.value if isinstance(p, ast.Constant) else _GAP for p in parts))
                    case ast.Constant(value=str(text)) if id(node) not in pieces:
                        found.append(re.sub(r"%(?:[sd]|\.\df)", _GAP, text))
    return found
