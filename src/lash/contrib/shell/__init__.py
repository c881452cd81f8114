"""Tools for shell commands, at once or in a terminal."""

from lash.contrib.shell.tools import Shell

__all__ = ["Shell"]
