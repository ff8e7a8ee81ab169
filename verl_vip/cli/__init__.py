"""The `verl-vip` command: one module for each subcommand, or for a few that belong together.

To add a subcommand, write a module with a `Command` and list it in `command_line.COMMANDS`. A module imports only what
`verl-vip --help` needs; a subcommand imports its other dependencies when it runs.
"""

from verl_vip.cli.command_line import main

__all__ = ["main"]
