"""`python -m verl_vip.cli`, for jobs: their Python need not have the `verl-vip` program on its path."""

import sys

from verl_vip.cli.command_line import main

if __name__ == "__main__":
    sys.exit(main())
