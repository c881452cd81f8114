"""The worked examples of the conformance page keep what they promise, run as a stranger would run them."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
#: Of the host's suite, what the page tells most about: cold processes, replay, forgery, fences.
SOME = "process or unless_it_was or forged or fenced or says_of_itself or verbatim"


@pytest.fixture
def examples(tmp_path: Path) -> Sequence[Path]:
    """The page's programs as test files, in a directory without any settings."""
    found = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    files = [tmp_path / f"test_example_{number}.py" for number in range(len(found))]
    for file, source in zip(files, found, strict=True):
        file.write_text(source)
    return files


def run_pytest(file: Path, *options: str) -> str:
    """What pytest says last."""
    environment = {key: value for key, value in os.environ.items() if "PYTEST" not in key}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(file)],
        cwd=file.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout.splitlines()[-1]


def test_the_store_of_the_page_passes_the_whole_suite(examples: Sequence[Path]) -> None:
    said = run_pytest(examples[0])

    passed = re.match(r"(\d+) passed", said)
    assert passed is not None
    assert int(passed.group(1)) > 300
    assert "skipped" not in said


def test_the_host_of_the_page_passes_also_in_processes_of_its_own(
    examples: Sequence[Path],
) -> None:
    said = run_pytest(examples[1], "-k", SOME)

    passed = re.match(r"(\d+) passed", said)
    assert passed is not None
    assert int(passed.group(1)) > 50
    assert "skipped" not in said
