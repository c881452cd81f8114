"""Finding files and lines: what fits, what git ignores, and expressions that would never end."""

import asyncio
import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from files_harness import Desk
from hypothesis import given, settings
from hypothesis import strategies as st

from lash.contrib.files.patterns import Ignore, glob_patterns


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def fits(pattern: str, path: str) -> bool:
    return any(each.matches(path.split("/")) for each in glob_patterns(pattern))


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.py", "a.py", True),
        ("*.py", "src/deep/a.py", True),
        ("./*.py", "src/a.py", False),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/deep/a.py", False),
        ("src/**/*.py", "src/a.py", True),
        ("src/**/*.py", "src/deep/er/a.py", True),
        ("**/test_*", "a/test_b", True),
        ("src/**", "src/a/b", True),
        ("*.{js,ts}", "a.ts", True),
        ("*.{js,ts}", "a.py", False),
        ("{a,b}/{c,d}", "b/c", True),
        ("[ab].txt", "a.txt", True),
        ("[!ab].txt", "a.txt", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
    ],
)
def test_patterns_of_paths(pattern: str, path: str, expected: bool) -> None:
    assert fits(pattern, path) is expected


def test_a_pattern_of_many_stars_is_decided_at_once() -> None:
    begun = time.monotonic()
    assert not fits("*a" * 40 + "/b", "a" * 250 + "/c")
    assert not fits("**/" * 30 + "x", "/".join("a" * 60))
    assert time.monotonic() - begun < 5


async def test_glob_leaves_out_what_is_hidden_or_ignored(desk: Desk) -> None:
    for path in (
        "a.py",
        "src/b.py",
        "src/gen/c.py",
        ".hidden/d.py",
        ".git/e.py",
        "node_modules/f.py",
        "build/g.py",
        "src/keep/h.py",
    ):
        desk.put(path, "")
    desk.put(".gitignore", "build/\nkeep\n")
    desk.put("src/.gitignore", "gen/\n!keep\n")
    assert await desk("glob", pattern="*.py") == {"paths": ["a.py", "src/b.py", "src/keep/h.py"]}
    assert await desk("glob", pattern="**/keep") == {"paths": ["src/keep/"]}
    assert await desk("glob", pattern="*.py", path="src") == {
        "paths": ["src/b.py", "src/keep/h.py"]
    }
    assert await desk("glob", pattern="*.py", path=".hidden") == {"paths": [".hidden/d.py"]}


async def test_glob_says_how_much_it_left_out(desk: Desk) -> None:
    for number in range(5):
        desk.put(f"{number}.txt", "")
    told = await desk("glob", pattern="*.txt", limit=2)
    assert told == {
        "paths": ["0.txt", "1.txt"],
        "truncated": {"shown": 2, "total": 5, "omitted": 3},
    }
    assert await desk.code("glob", pattern="{a,b}" * 10) == "pattern_invalid"
    assert await desk.code("glob", pattern="*", path="missing") == "file_not_found"


def decided_by_git(folder: Path, paths: list[str]) -> set[str]:
    asked = "\0".join(paths)
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "-z", "--stdin"],
        cwd=folder,
        input=asked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return {each for each in done.stdout.split("\0") if each}


NAMES = st.text("ab.", min_size=1, max_size=3).filter(lambda name: name not in {".", ".."})
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
PARTS = st.sampled_from(["a", "b", "ab", "*", "**", "?", "a*", "*b", "[ab]", "[!a]", "\\a", "a.b"])
LINES = st.builds(
    lambda no, first, parts, last: f"{no}{first}{'/'.join(parts)}{last}",
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(PARTS, min_size=1, max_size=3),
    st.sampled_from(["", "", "/", " "]),
)


@pytest.mark.skipif(shutil.which("git") is None, reason="git says what is right")
@settings(max_examples=150, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=4), st.lists(PATHS, min_size=1, max_size=6))
def test_rules_are_read_as_git_reads_them(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], paths: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    text = "\n".join(lines)
    (folder / ".gitignore").write_text(text)
    ignore = Ignore().inside(0, text)

    def left_out(path: str) -> bool:
        names = path.split("/")
        return any(
            ignore.ignores(names[:count], is_folder=count < len(names))
            for count in range(1, len(names) + 1)
        )

    asked = sorted({each for each in paths if not each.startswith(".git")})
    assert {each for each in asked if left_out(each)} == decided_by_git(folder, asked)


# --- grep -----------------------------------------------------------------------------------------------


async def test_grep_finds_lines_by_text_and_by_expression(desk: Desk) -> None:
    desk.put("a.py", "def one():\r\n    return 1\n")
    desk.put("b.txt", "One more\n")
    assert await desk("grep", pattern="one") == {"lines": ["a.py:1: def one():"]}
    assert await desk("grep", pattern="ONE", ignore_case=True) == {
        "lines": ["a.py:1: def one():", "b.txt:1: One more"]
    }
    assert await desk("grep", pattern=r"^\s+return \d$") == {"lines": ["a.py:2:     return 1"]}
    assert await desk("grep", pattern="[Oo]ne", files="*.txt") == {"lines": ["b.txt:1: One more"]}
    assert await desk("grep", pattern="one", path="a.py") == {"lines": ["a.py:1: def one():"]}
    assert await desk("grep", pattern="nothing") == {"lines": []}


async def test_grep_leaves_out_what_is_binary_large_hidden_or_ignored(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lash.contrib.files.searching.MAX_SEARCHED", 1000)
    desk.put(".gitignore", "ignored\n")
    desk.put("ignored", "needle")
    desk.put(".hidden", "needle")
    desk.put("binary", b"needle\0")
    desk.put("large", "needle" + "x" * 1000)
    desk.put("bad", b"needle \xff\n")
    assert await desk("grep", pattern="needle") == {"lines": ["bad:1: needle \ufffd"]}


async def test_grep_cuts_long_lines_around_what_was_found_and_says_that_there_is_more(
    desk: Desk,
) -> None:
    desk.put("a", "x" * 1000 + "needle" + "y" * 1000 + "\nneedle\nneedle\n")
    told = await desk("grep", pattern="needle", limit=2)
    assert told["truncated"] is True
    first, second = told["lines"]
    assert first == f"a:1: ...{'x' * 100}needle{'y' * 394}..."
    assert second == "a:2: needle"
    assert await desk("grep", pattern="needle", limit=3, path="a") != told


async def test_an_expression_that_never_ends_is_stopped_and_holds_up_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lash.contrib.files.matching.REGEX_S", 0.5)
    desk.put("a", "a" * 60 + "!")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    beside = asyncio.create_task(others())
    async with asyncio.timeout(20):
        assert await desk.code("grep", pattern="(a+)+$") == "pattern_too_slow"
    beside.cancel()
    assert turns > 10
    assert await desk.code("grep", pattern="(a") == "pattern_invalid"


@pytest.fixture
def fake_rg(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a program called `rg` in front of the others; what it does is given to it."""

    def install(script: str) -> None:
        folder = tmp_path_factory.mktemp("bin")
        program = folder / "rg"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return install


async def test_ripgrep_narrows_the_search_and_decides_nothing(desk: Desk, fake_rg: Any) -> None:
    desk.put("a", "needle")
    desk.put("b", "needle")
    desk.put("c", "nothing")
    desk.put(".gitignore", "b")
    fake_rg("printf './a\\0./b\\0./c\\0../out\\0'")
    assert await desk("grep", pattern="needle") == {"lines": ["a:1: needle"]}
    fake_rg("exit 1")
    assert await desk("grep", pattern="needle") == {"lines": []}
    fake_rg("exit 2")
    assert await desk("grep", pattern="needle") == {"lines": ["a:1: needle"]}
    fake_rg("exit 1")  # it is not asked for expressions: it reads them differently
    assert await desk("grep", pattern="needl.") == {"lines": ["a:1: needle"]}


@pytest.mark.skipif(
    shutil.which("rg") is None, reason="without ripgrep there is nothing to compare"
)
async def test_with_ripgrep_the_same_is_found_as_without(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        desk.put(f"d{number % 3}/{number}", f"line\nneedle {number}\n-e\n" * (number % 2))
    desk.put("dash", "-e")
    with_it = [await desk("grep", pattern=text) for text in ("needle", "-e", "NEEDLE")]
    monkeypatch.setattr("lash.contrib.files.matching.shutil.which", lambda _: None)
    assert with_it == [await desk("grep", pattern=text) for text in ("needle", "-e", "NEEDLE")]
