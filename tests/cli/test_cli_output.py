"""Where the command's output goes may be full, or closed."""

import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
RUN = ["run", "Hello", "--model", "scripted", "--db", "x.db"]


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_output_that_cannot_be_written_is_said_so(tmp_path: Path, form: list[str]) -> None:
    with FULL.open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "lash", *RUN, *form],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert "the output could not be written" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_closed_output_stops_nothing(tmp_path: Path) -> None:
    # The shell closes the descriptor: subprocess can only redirect it.
    command = f'exec "{sys.executable}" -m lash {" ".join(RUN)} >&-'
    ended = subprocess.run(
        ["/bin/sh", "-c", command], cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
