"""Floor 7: the `lash` command."""

import signal
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `lash` command and return its exit code.

    Args:
        argv: The arguments; those of the process if not given.
    """
    try:
        # Not before: who interrupts the command while it is being loaded gets its exit code, too.
        from lash.cli.entry import main as enter

        code = enter(argv)
        if argv is None:
            # What it came to is decided: the interpreter may take its time to end.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return code
    except KeyboardInterrupt:
        return 130  # ExitCode.INTERRUPTED, which may not be loaded yet
