"""The documentation says what the code and the result files say."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False
    )


def test_generated_pages_are_up_to_date():
    done = run("docs/generate.py", "--check")
    assert done.returncode == 0, done.stderr


def test_the_site_builds_without_a_broken_link(tmp_path):
    done = run("-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "settings" / "index.html").stat().st_size > 10_000


def test_every_message_in_troubleshooting_is_one_that_the_code_can_give():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    quoted = re.findall(r"^### (.+)$", page, flags=re.MULTILINE)
    assert quoted
    texts = _texts_in_the_code()
    missing = [line for line in quoted if not any(part in texts for part in _fixed_parts(line))]
    assert not missing


def _fixed_parts(line: str) -> list[str]:
    """Return a heading's words between its placeholders, which are in capitals or dots."""
    return [part.strip(" .,:") for part in re.split(r"…|\b[A-Z]{2,}\b", line) if len(part.strip()) > 12]


def _texts_in_the_code() -> str:
    found = []
    for room in ("verl_vip", "workers", "flows", "recipes"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)
