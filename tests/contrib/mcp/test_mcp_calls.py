"""Tools of a server that keeps to the protocol, through a runtime."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp_harness import bench, failure, fair, noted, until, value

import lash
from lash.contrib.mcp import (
    Elicitation,
    ElicitationAnswer,
    Mcp,
    Root,
    SamplingAnswer,
    SamplingRequest,
)
from lash.testing import ScriptedModel, calls, reply
from lash.turn.tools import NeverRetry, ToolCancelled

pytestmark = pytest.mark.slow

ERAS = pytest.mark.parametrize("protocol", ["auto", "handshake"])


@ERAS
async def test_structured_content_is_the_value_and_text_is_text(
    tmp_path: Path, protocol: Any
) -> None:
    async with bench(fair(tmp_path, protocol=protocol)) as b:
        assert value(await b.call("mcp__fair__weather", city="Oslo")) == {
            "city": "Oslo",
            "degrees": 21,
        }
        assert value(await b.call("mcp__fair__say", text="hé 🦊")) == "hé 🦊"


async def test_a_picture_is_attached_where_it_stands(tmp_path: Path) -> None:
    async with bench(fair(tmp_path)) as b:
        assert value(await b.call("mcp__fair__picture")) == [
            "before",
            {
                "$lash_tool_value": "attachment",
                "source": {
                    "source": "stored",
                    "attachment_ref": {
                        "id": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
                        "media_type": "image/png",
                        "byte_len": 5,
                    },
                },
            },
            "after",
        ]


async def test_what_the_tool_failed_with_is_a_failure_with_its_words(tmp_path: Path) -> None:
    async with bench(fair(tmp_path)) as b:
        failed = failure(await b.call("mcp__fair__broken"))
    assert (failed.code, failed.source, failed.failure_class) == (
        "mcp_tool_error",
        "plugin",
        "execution",
    )
    assert "the disk is full" in failed.message
    assert failed.retry == NeverRetry()


async def test_arguments_that_do_not_fit_never_reach_the_server(tmp_path: Path) -> None:
    async with bench(fair(tmp_path)) as b:
        failed = failure(await b.call("mcp__fair__weather", city=7))
        missing = failure(await b.call("mcp__fair__weather"))
    assert failed.code == missing.code == "invalid_tool_args"
    assert failed.message == "/city: 7 is not of type 'string'"
    assert noted(tmp_path) == []


async def test_ids_hold_the_servers_own_names_and_descriptions_name_the_server(
    tmp_path: Path,
) -> None:
    async with bench(fair(tmp_path, name="Fair Weather")) as b:
        provider = b.mcp.providers()[0]
        tool = next(each for each in provider.tools() if each.name == "mcp__fair_weather__weather")
    assert tool.id == "mcp:Fair Weather/weather"
    assert tool.spec.description == "[MCP Fair Weather] How warm it is."
    assert provider.id == "mcp:Fair Weather"


async def test_calls_of_one_message_are_under_way_at_once_over_one_connection(
    tmp_path: Path,
) -> None:
    async with bench(fair(tmp_path)) as b:
        async with asyncio.timeout(20):
            met = await b.call_all(("mcp__fair__meet", {}), ("mcp__fair__meet", {}))
        assert [value(each) for each in met] == ["met", "met"]
        assert b.status("fair").connections == 1


@ERAS
async def test_stopping_the_turn_cancels_the_request_at_the_server(
    tmp_path: Path, protocol: Any
) -> None:
    async with bench(fair(tmp_path, protocol=protocol)) as b:
        session = b.session("s", ("mcp__fair__wait", {"name": "never"}))
        running = asyncio.create_task(session.run("Do it."))
        await until(lambda: "wait never" in noted(tmp_path), "the call arrives")
        await session.cancel()
        result = await running
        assert isinstance(result.tool_calls[0].output.outcome, ToolCancelled)
        await until(lambda: "cancelled never" in noted(tmp_path), "the server is told")


async def test_a_call_that_a_closing_runtime_left_is_made_again_under_the_same_key(
    tmp_path: Path,
) -> None:
    store = tmp_path / "lash.db"
    folder = tmp_path / "fair"
    async with bench(fair(folder), store=store) as b:
        session = b.session("s", ("mcp__fair__wait", {"name": "go"}))
        running = asyncio.create_task(session.run("Do it.", turn_id="t"))
        await until(lambda: "wait go" in noted(folder), "the call arrives")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    (folder / "go").write_text("end\n")
    async with bench(fair(folder), store=store) as b:
        session = b.session("s", ("mcp__fair__wait", {"name": "go"}))
        result = await session.wait("t", timeout=20)
    assert value(result.tool_calls[0].output) == "done"
    first, again = [line for line in noted(folder) if line.startswith("key ")]
    assert first == again
    assert first.startswith("key tool-call:")


@ERAS
async def test_tools_that_come_and_go_are_offered_and_not(tmp_path: Path, protocol: Any) -> None:
    async with bench(fair(tmp_path, protocol=protocol)) as b:
        assert "mcp__fair__added" not in b.tools()
        assert value(await b.call("mcp__fair__change", add="added", remove="say")) == "changed"
        await until(lambda: "mcp__fair__added" in b.tools(), "the new tool is on offer")
        assert "mcp__fair__say" not in b.tools()
        assert value(await b.call("mcp__fair__added")) == "extra"
        gone = failure(await b.call("mcp__fair__say", text="x"))
        assert gone.code == "tool_unavailable"
        assert b.status("fair").connections == 1


async def test_a_plugin_may_be_one_agents_alone(tmp_path: Path) -> None:
    mcp = Mcp([fair(tmp_path)])
    script = [calls(("mcp__fair__say", {"text": "x"})), reply("Done.")]
    one = lash.Agent("one", model=ScriptedModel(script), plugins=[mcp])
    other = lash.Agent("other", model=ScriptedModel(script))
    async with lash.Runtime(":memory:", agents=[one, other]) as runtime:
        with_tool = await runtime.session("a", agent="one").run("Do it.")
        without = await runtime.session("b", agent="other").run("Do it.")
    assert value(with_tool.tool_calls[0].output) == "x"
    assert failure(without.tool_calls[0].output).code == "tool_unavailable"


def test_the_package_is_loaded_by_nobody_who_does_not_open_a_runtime_with_it() -> None:
    program = (
        "import sys, lash, lash.contrib.mcp as m; m.Mcp([m.StdioServer('s', 'x')]); "
        "print([name for name in ('mcp', 'mcp_types', 'pydantic', 'anyio') if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert told.stdout == "[]\n"


# --- what the server asks of the host -------------------------------------------------------------


async def sample(request: SamplingRequest) -> SamplingAnswer:
    assert request.max_tokens == 10
    assert request.messages[0]["content"] == {"type": "text", "text": "How much is 6 times 7?"}
    return SamplingAnswer(text=f"42, {request.server}", model="a-model")


async def person(question: Elicitation) -> ElicitationAnswer:
    assert (question.message, question.mode) == ("Which size?", "form")
    return ElicitationAnswer(action="accept", content={"size": 7})


async def roots() -> list[Root]:
    return [Root(uri="file:///srv/data", name="data")]


async def test_a_model_a_person_and_roots_are_asked_for_through_the_hosts_functions(
    tmp_path: Path,
) -> None:
    server = fair(tmp_path, protocol="handshake", sampling=sample, elicitation=person, roots=roots)
    async with bench(server) as b:
        model = value(await b.call("mcp__fair__ask", what="model"))
        assert '"text":"42, fair"' in model
        assert '"model":"a-model"' in model
        said = value(await b.call("mcp__fair__ask", what="person"))
        assert '"action":"accept","content":{"size":7}' in said
        assert '"file:///srv/data"' in value(await b.call("mcp__fair__ask", what="roots"))
        await b.mcp.notify_roots_changed()


async def test_a_person_is_asked_in_the_newest_protocol_too(tmp_path: Path) -> None:
    async with bench(fair(tmp_path, elicitation=person)) as b:
        said = value(await b.call("mcp__fair__ask_later"))
    assert said.startswith("kept ")
    assert '"content":{"size":7}' in said


@pytest.mark.parametrize("what", ["model", "person", "roots"])
async def test_what_the_host_has_no_function_for_is_not_there(tmp_path: Path, what: str) -> None:
    async with bench(fair(tmp_path, protocol="handshake")) as b:
        failed = failure(await b.call("mcp__fair__ask", what=what))
    assert failed.code == "mcp_request_refused"
    assert failed.message == ("MCP server 'fair' refused ask (JSON-RPC -32601): Method not found")


async def test_an_answer_that_does_not_fit_is_not_given_to_the_server(tmp_path: Path) -> None:
    async def wrong(question: Elicitation) -> ElicitationAnswer:
        return ElicitationAnswer(action="accept", content={"size": "large: secret"})

    async with bench(fair(tmp_path, protocol="handshake", elicitation=wrong)) as b:
        failed = failure(await b.call("mcp__fair__ask", what="person"))
    assert "The host's answer does not fit the schema." in failed.message
    assert "secret" not in failed.message


async def test_what_the_hosts_function_raises_stays_with_the_host(tmp_path: Path) -> None:
    async def failing(request: SamplingRequest) -> SamplingAnswer:
        message = "password hunter2 was refused"
        raise RuntimeError(message)

    async with bench(fair(tmp_path, protocol="handshake", sampling=failing)) as b:
        failed = failure(await b.call("mcp__fair__ask", what="model"))
        assert "The host could not answer." in failed.message
        assert "hunter2" not in failed.message
        assert value(await b.call("mcp__fair__say", text="still here")) == "still here"
