"""Dying on purpose: kill this process at a seam, as a power cut would."""

import os
import signal

from lash.core.seams import Seam


class KillAt:
    """A seam observer that kills the process with SIGKILL when a seam is passed the nth time.

    Give it to a runtime in a process of its own: `Runtime(path, agents=…, seams=KillAt("tool.after"))`.
    """

    def __init__(self, seam: Seam, nth: int = 1) -> None:
        self._seam = seam
        self._left = nth

    def __call__(self, seam: Seam) -> None:
        """Count, and kill when the count is reached. Nothing is flushed or released."""
        if seam != self._seam:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
