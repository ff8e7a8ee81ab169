"""The command line as a whole: which subcommands there are, and how their errors become exit statuses."""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from verl_vip import __version__
from verl_vip.cli import doctor, evaluate, flows, forecast, report, simulate
from verl_vip.cli.command import INTERRUPTED, Command, parse
from verl_vip.errors import ConfigError, VerlVipError
from verl_vip.text import readable

#: In the order in which a newcomer needs them.
COMMANDS: Sequence[Command] = (
    doctor.DOCTOR,
    forecast.FORECAST,
    simulate.SIMULATE,
    flows.TRAIN,
    report.REPORT,
    evaluate.EVALUATE,
    flows.EVALUATE_RUN,
    flows.PIPELINE,
    flows.SWEEP,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    # A path may hold bytes that are not valid text. Stdout prints them unchanged, and stderr escapes them.
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    try:
        if any("\0" in word for word in words):  # only a calling program can pass one; a shell cannot
            raise ConfigError("a command-line argument must not contain a NUL character; remove it.")
        status = _run(words)
        sys.stdout.flush()
    except VerlVipError as error:
        # A name from the command line or a file may contain a line break.
        print(f"verl-vip: {readable(' '.join(str(error).splitlines()))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("verl-vip: stopped.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output has closed it; Python would complain again on exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        print(f"verl-vip: {error.filename} cannot be used: {error.strerror}.", file=sys.stderr)
        return 2
    return status


def _run(words: Sequence[str]) -> int:
    name, *rest = _parser().parse_args(words).words
    (command,) = (command for command in COMMANDS if command.name == name)
    return command.run(parse(command.parser(), rest))


def _parser() -> argparse.ArgumentParser:
    names = [command.name for command in COMMANDS]
    width = max(map(len, names)) + 2
    listed = "\n".join(f"  {command.name:{width}}{command.summary}" for command in COMMANDS)
    parser = argparse.ArgumentParser(
        prog="verl-vip",
        usage="verl-vip [-h] [--version] COMMAND ...",
        description="Predicted rollout counts for stock verl, under a hard budget.",
        epilog=f"commands:\n{listed}\n\n`verl-vip COMMAND --help` describes a command and its options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"verl-vip {__version__}")
    parser.add_argument("words", nargs=argparse.PARSER, metavar="COMMAND", choices=names, help=argparse.SUPPRESS)
    return parser
