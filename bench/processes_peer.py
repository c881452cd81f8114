"""DBOS, for `processes.py --peers`: an environment of its own, and what runs in it.

The environment is made once, in `bench/.venv-peers`; remove that folder to have it made again.
"""

import asyncio
import json
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

_HERE = Path(__file__).parent
_PROGRAM = _HERE / "peers" / "dbos_processes.py"
_REQUIREMENT = "dbos==3.4.0"

#: DBOS as it comes, and on SQLite with the pragmas that lash uses: the name of each in the report, and
#: what its program calls it.
FLAVOURS = {"dbos": "plain", "dbos_wal": "wal"}

#: DBOS does some hundred steps a second, so it is given fewer: alone, and of each at once.
_WORKFLOWS, _WORKFLOWS_EACH, _STEPS, _STEPS_EACH = 50, 2, 200, 5


async def program_output(
    program: Path, *words: object, ends: int = 0, python: str | Path = sys.executable
) -> str:
    """What a program prints that ends with a given code."""
    running = await asyncio.create_subprocess_exec(
        python, program, *map(str, words), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await running.communicate()
    if running.returncode != ends:
        message = f"{program.name} {' '.join(map(str, words))} ended with {running.returncode}"
        raise RuntimeError(message)
    return told.decode()


@dataclass(frozen=True, slots=True)
class Peer:
    """Runs the workloads on DBOS.

    Attributes:
        python: The interpreter of its environment.
    """

    python: Path

    @classmethod
    def prepare(cls, say: Callable[[str], None]) -> "Peer":
        """Make its environment, unless it is there."""
        folder = _HERE / ".venv-peers" / _REQUIREMENT.replace("==", "-")
        python, made = folder / "bin" / "python", folder / "made"
        if not made.exists():
            say(f"installing {_REQUIREMENT} into {folder} (once) ...")
            venv.create(folder, with_pip=True, clear=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", _REQUIREMENT], check=True)
            made.touch()
        return cls(python)

    async def rates(self, flavour: str, file: Path, lanes: int) -> dict[str, float]:
        """Processes and steps per second, alone and at once."""
        counts = (lanes, _WORKFLOWS, _WORKFLOWS_EACH, _STEPS, _STEPS_EACH)
        told = await self._run(flavour, "rates", file, *counts)
        return {name: float(rate) for name, rate in json.loads(told).items()}

    async def recovery(self, flavour: str, file: Path, count: int) -> float:
        """Seconds until the workflows of a killed program have ended in another one."""
        await self._run(flavour, "plant", file, count, ends=-SIGKILL)
        told = await self._run(flavour, "recover", file, count)
        return float(json.loads(told)["recovery"])

    async def _run(self, flavour: str, role: str, *words: object, ends: int = 0) -> str:
        given = (FLAVOURS[flavour], role, *words)
        return await program_output(_PROGRAM, *given, ends=ends, python=self.python)
