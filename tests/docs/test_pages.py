"""Every Python block of the README and the guides is a program, and runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lash.core.errors import CATALOGUE

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(page, match.group(1), id=f"{page.name}-{number}")
    for page in PAGES
    for number, match in enumerate(BLOCK.finditer(page.read_text()), 1)
]


@pytest.mark.parametrize(("page", "source"), BLOCKS)
def test_block_runs(
    page: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": page.stem}
    exec(compile(source, str(page), "exec"), namespace)  # noqa: S102  our own documentation
    assert "lash" in namespace


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_example_runs_twice_on_one_file(example: Path, tmp_path: Path) -> None:
    for turns in (1, 2):
        run = subprocess.run(
            [sys.executable, str(example)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert f"{turns} turns so far" in run.stdout


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*PAGES, *sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_errors_page_lists_every_code_once() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(CATALOGUE)


def test_tests_named_by_the_guarantee_table_exist() -> None:
    table = (ROOT / "README.md").read_text()
    cited = re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", table)
    assert len(cited) >= 4
    for name, page in cited:
        assert f"def {name}(" in (ROOT / page).read_text(), name
