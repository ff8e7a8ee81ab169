"""A subcommand, and how its words are parsed."""

import argparse
import logging
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

INTERRUPTED = 130


@dataclass(frozen=True)
class Command:
    """A subcommand of `verl-vip`.

    Attributes:
        name: The word that selects it.
        summary: What it does, in at most 64 characters, for the list of subcommands.
        details: What else its help says, in sentences.
        examples: Calls of it that its help shows.
        add_arguments: Adds its arguments to its parser.
        run: Runs it with the parsed options, and returns the exit status.
    """

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    details: str = ""
    examples: Sequence[str] = ()

    def parser(self) -> argparse.ArgumentParser:
        """Return the parser of the words after the subcommand's name."""
        description = f"{self.summary[0].upper()}{self.summary[1:]}. {self.details}"
        parser = argparse.ArgumentParser(
            prog=f"verl-vip {self.name}",
            description=textwrap.fill(description, 80),
            epilog="\n".join(["examples:", *(f"  {example}" for example in self.examples)]) if self.examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_arguments(parser)
        return parser


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse a command's words, where options and Hydra overrides may stand in any order.

    Raises:
        SystemExit: If a word is wrong or asks for help, as argparse does.
    """
    if wrong := [word for word in words if word.startswith("-") and word.endswith("=--")]:
        parser.error(f"{wrong[0]}: -- is not a value")  # argparse would take it for an empty list
    options, rest = parser.parse_known_args(words)
    # argparse takes the overrides up to the first option after them, and reports any others as unknown.
    if any(word.startswith("-") for word in rest) or (rest and "overrides" not in options):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def comma_separated(text: str) -> list[str]:
    """Return the words of a list such as `uniform,vip`."""
    return [word for word in text.split(",") if word]


def show_progress() -> None:
    """Print the log of verl-vip on stderr, for a command that takes minutes."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("verl_vip").setLevel(logging.INFO)
