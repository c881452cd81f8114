"""The official reference servers, from npm: what others have written, and not for us."""

import asyncio
import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest
from mcp_harness import bench, failure, value

from lash.contrib.mcp import (
    Elicitation,
    ElicitationAnswer,
    Root,
    SamplingAnswer,
    SamplingRequest,
    StdioServer,
)

PACKAGES = (
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-filesystem@2026.8.31",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def programs(pytestconfig: pytest.Config) -> Path:
    """Where the servers' programs are; installed once, and kept."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed, and the reference servers come from there")
    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir("mcp-reference-servers")
    bin_folder = kept / "node_modules" / ".bin"
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want them at once
        if not (kept / "complete").exists():
            _install(npm, kept)
            (kept / "complete").touch()
    return bin_folder


def _install(npm: str, folder: Path) -> None:
    options = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
    ended = subprocess.run(
        [npm, *options, *PACKAGES], capture_output=True, text=True, timeout=100, check=False
    )
    if ended.returncode != 0:
        pytest.skip(f"the reference servers cannot be installed: {ended.stderr[-300:]}")


async def test_the_everything_server(programs: Path) -> None:
    async def sample(request: SamplingRequest) -> SamplingAnswer:
        return SamplingAnswer(text="A sampled answer.", model="a-model")

    async def person(question: Elicitation) -> ElicitationAnswer:
        return ElicitationAnswer(action="decline")

    async def roots() -> list[Root]:
        return [Root(uri="file:///srv/data", name="data")]

    server = StdioServer(
        "every",
        str(programs / "mcp-server-everything"),
        ["stdio"],
        sampling=sample,
        elicitation=person,
        roots=roots,
        startup_timeout=60,
    )
    async with bench(server) as b:
        assert b.status("every").reason is None
        assert value(await b.call("mcp__every__echo", message="hi")) == "Echo: hi"
        assert value(await b.call("mcp__every__get_sum", a=2, b=3)) == "The sum of 2 and 3 is 5."
        picture = value(await b.call("mcp__every__get_tiny_image"))
        kept = [each["source"] for each in picture if isinstance(each, dict)]
        assert [each["attachment_ref"]["media_type"] for each in kept] == ["image/png"]
        weather = value(await b.call("mcp__every__get_structured_content", location="New York"))
        assert set(weather) == {"temperature", "conditions", "humidity"}
        sampled = value(
            await b.call("mcp__every__trigger_sampling_request", prompt="Hi", maxTokens=10)
        )
        assert "A sampled answer." in sampled
        asked = value(await b.call("mcp__every__trigger_elicitation_request"))
        assert "decline" in asked.lower()
        long = value(
            await b.call("mcp__every__trigger_long_running_operation", duration=1, steps=4)
        )
        assert "completed" in long
        assert "file:///srv/data" in value(await b.call("mcp__every__get_roots_list"))
        wrong = failure(await b.call("mcp__every__get_sum", a="two", b=3))
        assert wrong.code == "invalid_tool_args"


async def test_the_filesystem_server(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello from a file\n")
    server = StdioServer(
        "fs", str(programs / "mcp-server-filesystem"), [str(tmp_path)], startup_timeout=60
    )
    async with bench(server) as b:
        read = value(await b.call("mcp__fs__read_text_file", path=str(tmp_path / "note.txt")))
        assert read == {"content": "hello from a file\n"}
        new = str(tmp_path / "new.txt")
        await b.call("mcp__fs__write_file", path=new, content="written")
        assert await asyncio.to_thread(Path(new).read_text) == "written"
        denied = failure(await b.call("mcp__fs__read_text_file", path="/etc/passwd"))
        assert denied.code == "mcp_tool_error"
        assert "Access denied" in denied.message
