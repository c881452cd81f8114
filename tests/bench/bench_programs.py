"""Runs the programs of `bench` as a person would, in that folder."""

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"


def run(*words: str, given: str = "", code: int = 0) -> tuple[str, str]:
    """What a program says, and what it complains of; it must end with `code`."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=BENCH,
        input=given,
        env={"COLUMNS": "160", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def said(*words: str, given: str = "") -> str:
    """What a program says."""
    return run(*words, given=given)[0]
