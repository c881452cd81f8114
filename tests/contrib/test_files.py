"""The tools for files: what they show and change, and that nothing outside their folder is ever touched."""

import asyncio
import base64
import ctypes
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from files_harness import Desk, context, outcome

import lash
from lash.contrib.files import Files
from lash.contrib.files.root import Root, look
from lash.core.cancel import Cancellation, CancelToken
from lash.testing import ScriptedModel, calls, reply


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "root").mkdir()
    return Desk(tmp_path / "root")


# --- through a runtime ----------------------------------------------------------------------------------


async def test_a_model_reads_edits_and_writes_files(tmp_path: Path, desk: Desk) -> None:
    desk.put("notes.txt", "one\ntwo\n")
    model = ScriptedModel(
        [
            calls(("read_file", {"path": "notes.txt"})),
            calls(
                ("edit", {"path": "notes.txt", "edits": [{"oldText": "one", "newText": "1"}]}),
                ("edit", {"path": "notes.txt", "edits": [{"oldText": "two", "newText": "2"}]}),
                ("write", {"path": "new/file.txt", "content": "hello\n"}),
            ),
            reply("Done."),
        ]
    )
    agent = lash.Agent("coder", model=model, tools=Files(desk.root, write=True).tools())
    async with asyncio.timeout(30), lash.Runtime(tmp_path / "a.db", agents=[agent]) as runtime:
        turn = await runtime.session("s").run("Go.")
    told = [call.output.outcome.payload for call in turn.tool_calls]
    assert told[0] == "1: one\n2: two"
    assert [each["summary"] for each in told[1:]] == [  # type: ignore[index, call-overload]  # objects, all three
        "Made 1 edit in notes.txt.",
        "Made 1 edit in notes.txt.",
        "Made new/file.txt (6 bytes).",
    ]
    assert (desk.root / "notes.txt").read_text() == "1\n2\n"
    assert (desk.root / "new/file.txt").read_text() == "hello\n"


def test_nothing_can_be_written_unless_the_host_says_so(desk: Desk) -> None:
    assert [tool.name for tool in Files(desk.root).tools()] == ["read_file", "glob", "grep"]
    with pytest.raises(lash.ConfigurationError) as refused:
        Files(desk.root / "missing")
    assert refused.value.code == "tool_set_invalid"


# --- read_file ------------------------------------------------------------------------------------------


async def test_lines_are_numbered_and_where_to_go_on_is_told(desk: Desk) -> None:
    desk.put("a", "".join(f"line {number}\n" for number in range(1, 11)))
    told = await desk("read_file", path="a", offset=4, limit=2)
    assert told == "4: line 4\n5: line 5\n[There is more; go on with offset=6.]"
    assert await desk("read_file", path="a", offset=10) == "10: line 10"
    assert await desk.code("read_file", path="a", offset=11) == "offset_out_of_range"


async def test_long_lines_and_long_files_are_cut(desk: Desk) -> None:
    desk.put("wide", "é" * 2001 + "\nnext\n")
    assert await desk("read_file", path="wide") == f"1: {'é' * 2000}... [line cut]\n2: next"
    desk.put("long", ("x" * 99 + "\n") * 2000)
    told = await desk("read_file", path="long")
    assert len(told) <= 50 * 1024 + 100
    last = told.splitlines()[-2].split(":")[0]
    assert told.endswith(f"[There is more; go on with offset={int(last) + 1}.]")


async def test_a_line_without_end_is_read_without_being_kept(desk: Desk) -> None:
    desk.put("one", b"x" * 5_000_000 + b"\nafter")
    told = await desk("read_file", path="one")
    assert told == f"1: {'x' * 2000}... [line cut]\n2: after"


async def test_an_empty_file_and_an_empty_folder_say_so(desk: Desk) -> None:
    desk.put("empty", "")
    (desk.root / "folder").mkdir()
    assert await desk("read_file", path="empty") == "[The file is empty.]"
    assert await desk("read_file", path="folder") == "[The folder is empty.]"


async def test_a_folder_is_listed_in_order(desk: Desk) -> None:
    for path in ("b.txt", "a/x", ".hidden"):
        desk.put(path, "")
    assert await desk("read_file", path=".") == ".hidden\na/\nb.txt"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"text\0more", "file_is_binary"),
        (b"%PDF-1.7", "file_is_media"),
    ],
)
async def test_what_is_no_text_is_refused(desk: Desk, data: bytes, code: str) -> None:
    desk.put("a", data)
    assert await desk.code("read_file", path="a") == code
    assert await desk.code("edit", path="a", edits=[{"oldText": "a", "newText": "b"}]) == code


async def test_a_picture_is_looked_at_and_not_edited(desk: Desk) -> None:
    picture = b"RIFF....WEBPVP8 "
    desk.put("a", picture)
    kept = await desk("read_file", path="a")
    assert kept == {
        "$lash_tool_value": "attachment",
        "source": {
            "source": "inline",
            "data": base64.b64encode(picture).decode(),
            "label": "a",
        },
    }
    assert await desk.code("edit", path="a", edits=[{"oldText": "a", "newText": "b"}]) == (
        "file_is_media"
    )
    desk.put("large", b"\x89PNG\r\n\x1a\n" + bytes(20 * 1024 * 1024))
    assert await desk.code("read_file", path="large") == "file_too_large"


async def test_a_mark_of_the_byte_order_is_not_shown_and_bad_bytes_are_marked(desk: Desk) -> None:
    desk.put("a", b"\xef\xbb\xbfone\r\ntw\xffo\r\n")
    assert await desk("read_file", path="a") == "1: one\n2: tw\ufffdo"


async def test_what_is_no_file_is_refused_without_waiting(desk: Desk) -> None:
    os.mkfifo(desk.root / "pipe")
    async with asyncio.timeout(10):
        assert await desk.code("read_file", path="pipe") == "not_a_file"
        assert await desk.code("write", path="pipe", content="x") == "not_a_file"
    assert await desk.code("read_file", path="missing") == "file_not_found"
    assert await desk.code("write", path=".", content="x") == "not_a_file"


async def test_a_read_that_is_given_up_stops(desk: Desk) -> None:
    desk.put("a", "x\n" * 10)
    cancel = CancelToken()
    cancel.cancel(Cancellation(request_id="r"))
    tool = Files(desk.root).tools()[0]
    failure = await outcome(tool, {"path": "a"}, context("read_file", cancel=cancel))
    assert failure.code == "stopped"


# --- staying inside -------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    return tmp_path / "outside"


OUT = [
    "../outside/secret",
    "/etc/passwd",
    "a/../../outside/secret",
    "link/secret",
    "file",
    "up/outside/secret",
]


@pytest.mark.parametrize("path", OUT)
async def test_no_path_leads_out(desk: Desk, outside: Path, path: str) -> None:
    desk.put("a/inner", "")
    (desk.root / "link").symlink_to(outside)
    (desk.root / "file").symlink_to(outside / "secret")
    (desk.root / "up").symlink_to("..")
    change = [{"oldText": "secret", "newText": "x"}]
    assert await desk.code("read_file", path=path) == "path_outside_root"
    assert await desk.code("write", path=path, content="x") == "path_outside_root"
    assert await desk.code("edit", path=path, edits=change) == "path_outside_root"
    assert await desk.code("grep", path=path, pattern="secret") == "path_outside_root"
    assert await desk.code("glob", path=path, pattern="*") == "path_outside_root"
    assert (outside / "secret").read_text() == "secret"
    assert names_in(outside) == ["secret"]


async def test_searching_goes_past_links_that_lead_out(desk: Desk, outside: Path) -> None:
    (desk.root / "link").symlink_to(outside)
    (desk.root / "file").symlink_to(outside / "secret")
    desk.put("mine", "secret")
    assert await desk("grep", pattern="secret") == {"lines": ["mine:1: secret"]}
    assert await desk("grep", pattern="secre.") == {"lines": ["mine:1: secret"]}
    assert await desk("glob", pattern="**") == {"paths": ["file", "link", "mine"]}


async def test_links_and_absolute_paths_that_stay_inside_are_followed(desk: Desk) -> None:
    desk.put("deep/er/file", "text")
    (desk.root / "link").symlink_to("deep/er/../er")
    (desk.root / "absolute").symlink_to(desk.root / "deep")
    (desk.root / "chain").symlink_to("absolute/er/file")
    for path in ("link/file", "absolute/er/file", "chain", f"{desk.root}/deep/er/file"):
        assert await desk("read_file", path=path) == "1: text"
    assert (await desk("write", path="chain", content="new"))["path"] == "deep/er/file"
    assert (desk.root / "chain").is_symlink()
    assert (desk.root / "deep/er/file").read_text() == "new"


async def test_links_in_a_circle_are_refused(desk: Desk) -> None:
    (desk.root / "a").symlink_to("b")
    (desk.root / "b").symlink_to("a")
    assert await desk.code("read_file", path="a") == "path_invalid"


@pytest.mark.parametrize("path", ["", " ", "a\0b", "x" * 300, "a\ud800"])
async def test_what_is_no_path_is_refused(desk: Desk, path: str) -> None:
    assert await desk.code("read_file", path=path) == "path_invalid"


def _swapping(first: Path, target: Path, stop: threading.Event) -> threading.Thread:
    """Swaps a folder and a link to somewhere else, as fast as it can; one of them is always there."""
    exchange, here = 2, -100
    renameat2 = ctypes.CDLL(None).renameat2
    link = first.with_name("link")
    link.symlink_to(target)

    def swap() -> None:
        while not stop.is_set():
            renameat2(here, bytes(first), here, bytes(link), exchange)

    thread = threading.Thread(target=swap)
    thread.start()
    return thread


def _tries(root: Path) -> list[Callable[[int], Any]]:
    desk = Desk(root)
    return [
        lambda n: desk("write", path="dir/file", content=f"changed {n}"),
        lambda n: desk("write", path=f"dir/sub{n}/file", content="made"),
        lambda n: desk("edit", path="dir/file", edits=[{"oldText": "a", "newText": f"b{n} a"}]),
        lambda _: desk("read_file", path="dir/file"),
        lambda _: desk("grep", pattern="secre[t]"),
        lambda _: desk("grep", pattern="secret", path="dir"),
        lambda _: desk("glob", pattern="**"),
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="swapping at once is Linux's")
@pytest.mark.parametrize("number", range(7))
async def test_a_folder_that_becomes_a_link_meanwhile_leads_nowhere(
    desk: Desk, outside: Path, number: int
) -> None:
    (outside / "file").write_text("a secret")
    (outside / "only-there").write_text("a secret")
    desk.put("dir/file", "a text")
    attempt, stop = _tries(desk.root)[number], threading.Event()
    thread = _swapping(desk.root / "dir", outside, stop)
    times = 60 if number in {4, 5} else 400
    try:
        told = [str(await attempt(nth)) for nth in range(times)]
    finally:
        stop.set()
        thread.join()
    assert names_in(outside) == ["file", "only-there", "secret"]
    assert (outside / "file").read_text() == "a secret"
    assert not [each for each in told if "a secret" in each or "only-there" in each]


async def test_a_file_that_becomes_a_link_after_the_look_is_not_opened(
    desk: Desk, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = desk.put("file", "text")
    real = os.open

    def swapping(path: Any, flags: int, *args: Any, **named: Any) -> int:
        if path == "file" and not file.is_symlink():
            file.unlink()
            file.symlink_to(outside / "secret")
        return real(path, flags, *args, **named)

    monkeypatch.setattr(os, "open", swapping)
    assert await desk.code("read_file", path="file") == "file_changed"


async def test_a_file_that_becomes_a_pipe_after_the_look_is_not_waited_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, real = desk.put("file", "text"), os.open

    def swapping(path: Any, flags: int, *args: Any, **named: Any) -> int:
        if path == "file" and file.is_file():
            file.unlink()
            os.mkfifo(file)
        return real(path, flags, *args, **named)

    monkeypatch.setattr(os, "open", swapping)
    async with asyncio.timeout(10):
        assert await desk.code("read_file", path="file") == "file_changed"


async def test_what_becomes_a_link_while_it_is_searched_is_not_looked_into(
    desk: Desk, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.put("dir/inner", "mine")
    desk.put("file", "mine")
    real, targets = os.open, {"dir": outside, "file": outside / "secret"}

    def swapping(path: Any, flags: int, *args: Any, **named: Any) -> int:
        place = desk.root / str(path)
        if path in targets and not place.is_symlink():
            place.rename(desk.root / f"{path}-aside")
            place.symlink_to(targets[path])
        return real(path, flags, *args, **named)

    monkeypatch.setattr(os, "open", swapping)
    assert await desk("grep", pattern="secret") == {"lines": []}
    assert "dir/secret" not in (await desk("glob", pattern="**"))["paths"]


async def test_a_file_that_becomes_a_link_before_it_is_replaced_is_left_alone(
    desk: Desk, outside: Path
) -> None:
    file = desk.put("file", "text")
    root = Root(desk.root)
    with root.spot("file") as spot:
        file.unlink()
        file.symlink_to(outside / "secret")
        with pytest.raises(lash.ToolError) as refused:
            root.replace(spot, b"changed", "token")
    assert refused.value.failure.code == "file_changed"
    assert (outside / "secret").read_text() == "secret"
    assert names_in(desk.root) == ["file"]


# --- write ----------------------------------------------------------------------------------------------


async def test_a_file_keeps_its_mode_and_a_new_one_has_the_usual_one(desk: Desk) -> None:
    desk.put("script", "old").chmod(0o750)
    await desk("write", path="script", content="new")
    assert (desk.root / "script").stat().st_mode & 0o777 == 0o750
    mask = os.umask(0o027)
    try:
        await desk("write", path="fresh", content="new")
    finally:
        os.umask(mask)
    assert (desk.root / "fresh").stat().st_mode & 0o777 == 0o640


async def test_a_file_is_replaced_whole_and_other_names_of_it_stay(desk: Desk) -> None:
    file = desk.put("file", "old")
    os.link(file, desk.root / "other")
    reader = file.open()
    await desk("write", path="file", content="new")
    with reader:
        assert reader.read() == "old"
    assert (desk.root / "other").read_text() == "old"
    assert names_in(desk.root) == ["file", "other"]


async def test_a_write_that_fails_leaves_the_old_file_and_no_part(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.put("file", "old")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert await desk.code("write", path="file", content="new") == "file_failed"
    monkeypatch.undo()
    assert (desk.root / "file").read_text() == "old"
    assert names_in(desk.root) == ["file"]


async def test_what_a_call_that_died_left_behind_is_taken_away_by_its_next_attempt(
    desk: Desk,
) -> None:
    root = Root(desk.root)
    with root.spot("file") as spot:
        root.replace(spot, b"1", "token")
    names: list[str] = []
    real = os.rename

    def noting(source: str, *args: Any, **named: Any) -> None:
        names.append(source)
        real(source, *args, **named)

    os.rename = noting  # type: ignore[assignment]  # put back below
    try:
        with root.spot("file") as spot:
            root.replace(spot, b"2", "token")
        desk.put(names[0], "left over")
        with root.spot("file") as spot:
            root.replace(spot, b"3", "token")
    finally:
        os.rename = real
    assert (desk.root / "file").read_text() == "3"
    assert names_in(desk.root) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to the superuser")
async def test_a_file_that_may_not_be_written_is_not_replaced(desk: Desk) -> None:
    desk.put("file", "old").chmod(0o444)
    assert await desk.code("write", path="file", content="new") == "permission_denied"


def test_a_look_tells_links_from_what_they_lead_to(desk: Desk) -> None:
    folder = os.open(desk.root, os.O_RDONLY)
    try:
        assert look("missing", folder) is None
    finally:
        os.close(folder)


# --- descriptors ----------------------------------------------------------------------------------------


async def test_no_descriptor_is_left_open(desk: Desk, outside: Path) -> None:
    desk.put("a/b/c", "text")
    (desk.root / "link").symlink_to(outside)

    async def everything() -> None:
        await desk("read_file", path="a/b/c")
        await desk("read_file", path="a")
        await desk("read_file", path="link/secret")
        await desk("read_file", path="a/b/c/d")
        await desk("write", path="a/x/y", content="text")
        await desk("write", path="a", content="text")
        await desk("edit", path="a/b/c", edits=[{"oldText": "nope", "newText": ""}])
        await desk("glob", pattern="*")
        await desk("grep", pattern="tex")
        await desk("grep", pattern="t.x")
        await desk("grep", pattern="(")

    await everything()
    before = len(names_in(Path("/proc/self/fd")))
    await everything()
    assert len(names_in(Path("/proc/self/fd"))) == before
