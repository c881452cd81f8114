"""What the `lash` command tells its caller."""

from enum import IntEnum


class ExitCode(IntEnum):
    """0 done, 1 failed or stopped, 2 wrong usage or configuration, 130 interrupted."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130  # what shells report for a command ended by SIGINT
