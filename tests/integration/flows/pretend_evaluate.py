"""Writes what `verl-vip evaluate` writes, without a model. Started as its own process."""

import json
import sys
from pathlib import Path


def main(words: list[str]) -> None:
    run = Path(words[words.index("evaluate") + 1])
    step = int(words[words.index("--steps") + 1])
    output = Path(words[words.index("--output") + 1])
    with (run / "evaluations.txt").open("a") as file:
        file.write(f"{step}\n")
    if "--fail" in words and words[words.index("--fail") + 1] == str(step):
        sys.exit("no such model")
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    one = {
        "folder": f"{run.name}-step{step}/offline",
        "format": 1,
        "model": f"{run.name}-step{step}",
        "step": step,
        "benchmark": words[words.index("--benchmark") + 1],
        "problems": 3,
        "n": 4,
        "mean": estimate,
        "pass_at_k": {str(k): estimate for k in (1, 2, 3, 4)},
        "maj_at_k": {str(k): estimate for k in (1, 2, 4)},
        "sources": {},
        "truncated": 0.0,
        "unanswered": 0.25,
        "tokens": {"mean": 12.0, "median": 12, "max": 12, "total": 144},
        "grader": {},
        "second_opinion": None,
    }
    output.mkdir(exist_ok=True)
    summary = output / "metrics.json"
    there = json.loads(summary.read_text())["evaluations"] if summary.exists() else []
    summary.write_text(
        json.dumps({"format": 1, "baseline": "", "evaluations": [*there, one], "comparisons": [], "left_out": []})
    )
    pictures = output / "report_pictures"
    pictures.mkdir(exist_ok=True)
    (pictures / "pass_at_k.png").write_bytes(b"\x89PNG\r\n\x1a\n")


if __name__ == "__main__":
    main(sys.argv[1:])
