"""Floor 7: the `lash` command."""

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

        return enter(argv)
    except KeyboardInterrupt:
        return 130  # ExitCode.INTERRUPTED, which may not be loaded yet
