"""Names, lines, schemas and answers: the parts that touch nothing."""

import json
import time

import pytest

from lash.contrib.mcp import HttpServer, Mcp, StdioServer
from lash.contrib.mcp.content import answer
from lash.contrib.mcp.lines import Lines, TooLong
from lash.contrib.mcp.names import ToolNames, normalized, server_prefix, tool_id
from lash.contrib.mcp.schemas import checker
from lash.contrib.mcp.state import is_exhausted, rest_s
from lash.core.errors import ConfigurationError
from lash.core.json import JsonObject
from lash.tools.validation import UnusableSchemaError
from lash.turn.tools import ToolFailed, ToolSuccess

# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("original", "name"),
    [
        ("read_file", "read_file"),
        ("getIssue", "getissue"),
        ("get-issue.v2", "get_issue_v2"),
        ("a__b", "a_b"),
        ("list (all)", "list_all"),
        ("größe", "gr_e"),
        ("読む", "tool"),
        ("___", "tool"),
    ],
)
def test_names_are_small_letters_digits_and_single_underscores(original: str, name: str) -> None:
    expected = "_" + name if original == "読む" else name
    assert normalized(original) in {name, expected}
    assert ToolNames("Git Hub").assign([original])[original] == f"mcp__git_hub__{name}"


def test_the_same_names_come_out_whatever_order_the_server_names_its_tools_in() -> None:
    expected = {"a-b": "mcp__s__a_b", "a.b": "mcp__s__a_b_2", "a_b": "mcp__s__a_b_3"}
    assert ToolNames("s").assign(["a-b", "a.b", "a_b"]) == expected
    assert ToolNames("s").assign(["a_b", "a.b", "a-b"]) == expected


def test_a_name_stays_given_while_its_tool_is_away() -> None:
    names = ToolNames("s")
    names.assign(["a.b"])
    assert names.assign(["a-b"]) == {"a-b": "mcp__s__a_b_2"}
    assert names.assign(["a.b", "a-b"]) == {"a.b": "mcp__s__a_b", "a-b": "mcp__s__a_b_2"}


def test_a_name_that_looks_like_a_numbered_one_takes_no_others_place() -> None:
    assert ToolNames("s").assign(["x", "X", "x_2"]) == {
        "X": "mcp__s__x",
        "x": "mcp__s__x_2",
        "x_2": "mcp__s__x_2_2",
    }


def test_long_names_are_cut_to_what_providers_take_and_stay_apart() -> None:
    names = ToolNames("server").assign(["x" * 80 + "one", "x" * 80 + "two"])
    assert {len(name) for name in names.values()} == {64}
    assert len(set(names.values())) == 2
    assert names == ToolNames("server").assign(["x" * 80 + "two", "x" * 80 + "one"])


def test_ids_hold_what_the_server_says() -> None:
    assert tool_id("git", "get-Issue") == "mcp:git/get-Issue"
    assert server_prefix("Git-Hub ") == "mcp__git_hub__"


@pytest.mark.parametrize("name", ["", "  ", "a__b", "a\nb"])
def test_servers_need_names_that_can_be_part_of_a_tools(name: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        StdioServer(name, "server")
    assert raised.value.code == "mcp_server_invalid"


def test_two_servers_whose_tools_would_be_called_the_same_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'git_hub'.*the same as those of 'Git-Hub'"):
        Mcp([StdioServer("Git-Hub", "a"), StdioServer("git_hub", "b")])


@pytest.mark.parametrize(
    "settings",
    [
        {"call_timeout": 10, "call_max_total_timeout": 10},
        {"startup_timeout": 0},
        {"timeouts_before_disconnect": 0},
        {"max_message_bytes": 0},
        {"reconnect_attempts": 0},
        {"probe_interval": 0},
    ],
)
def test_settings_that_cannot_be_kept_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        HttpServer("s", "http://localhost/mcp", **settings)  # type: ignore[arg-type]  # as given
    assert raised.value.code == "mcp_server_invalid"


@pytest.mark.parametrize("url", ["localhost:80", "ftp://a/b", "http://", "/mcp"])
def test_urls_that_lead_nowhere_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        HttpServer("s", url)
    assert raised.value.code == "mcp_server_invalid"


def test_secrets_of_servers_are_not_shown() -> None:
    shown = repr(
        [
            StdioServer("a", "run", ["--key", "hunter2"], env={"KEY": "hunter2"}),
            HttpServer(
                "b", "https://u:hunter2@b.example/mcp?key=hunter2", {"authorization": "hunter2"}
            ),
        ]
    )
    assert "hunter2" not in shown
    assert "https://b.example/mcp" in shown


# --- lines ----------------------------------------------------------------------------------------


def test_lines_come_out_whole_however_they_are_cut() -> None:
    text = b'{"a":1}\n\n{"b":"\xc3\xbc"}\nrest'
    for size in (1, 2, 3, 7, 100):
        lines = Lines(50)
        found = [
            line
            for start in range(0, len(text), size)
            for line in lines.feed(text[start : start + size])
        ]
        assert found == [b'{"a":1}', b"", b'{"b":"\xc3\xbc"}']


@pytest.mark.parametrize("size", [1, 64, 10_000])
@pytest.mark.parametrize(
    ("line", "request_id"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":"' + b"x" * 3000 + b'"}', 7),
        (b'{"result":"' + b"x" * 3000 + b'","jsonrpc":"2.0","id":8}', 8),
        (b'{"jsonrpc":"2.0","result":"' + b"x" * 3000 + b'","id":9}', 9),
        (b"x" * 3000, None),
        (b'{"jsonrpc":"2.0","method":"m","params":"' + b"x" * 3000 + b'"}', None),
    ],
)
def test_of_a_line_that_is_too_long_it_is_known_what_it_answers(
    line: bytes, request_id: int | None, size: int
) -> None:
    lines, text = Lines(1000), line + b"\nnext\n"
    found = [
        each
        for start in range(0, len(text), size)
        for each in lines.feed(text[start : start + size])
    ]
    assert found == [TooLong(len(line), request_id), b"next"]


# --- schemas --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reference", ["https://a.example/schema", "other.json#/a", "file:///etc/passwd"]
)
def test_schemas_that_refer_to_somewhere_else_are_refused(reference: str) -> None:
    with pytest.raises(UnusableSchemaError, match="which is not in it"):
        checker({"properties": {"a": {"items": {"$ref": reference}}}})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"properties": [1]},
        {"minimum": "low"},
        {"description": "x" * 300_000},
        json.loads('{"not":' * 150 + "{}" + "}" * 150),
    ],
)
def test_what_is_no_schema_is_refused(schema: JsonObject) -> None:
    with pytest.raises(UnusableSchemaError):
        checker(schema)


def test_references_within_a_schema_are_followed() -> None:
    check = checker(
        {"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}}
    )
    assert check.misfit({"a": 1}) is None
    assert check.misfit({"a": "x"}) == "/a: 'x' is not of type 'integer'"


def test_a_schema_of_an_unknown_draft_is_read_as_the_newest() -> None:
    check = checker({"$schema": "https://a.example/draft", "required": ["a"]})
    assert check.misfit({}) == "'a' is a required property"


def test_a_reference_that_leads_nowhere_is_refused_and_one_in_circles_is_told() -> None:
    with pytest.raises(UnusableSchemaError, match="which is not in it"):
        checker({"$ref": "#/$defs/none"})
    circle = checker({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}).misfit({})
    assert circle is not None


def test_a_pattern_that_takes_for_ever_is_left_to_the_server() -> None:
    check = checker({"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}})
    begun = time.perf_counter()
    assert check.misfit({"a": "a" * 40 + "!"}) is None
    assert time.perf_counter() - begun < 1


# --- answers ----------------------------------------------------------------------------------------


def text(said: str) -> JsonObject:
    return {"type": "text", "text": said}


@pytest.mark.parametrize(
    ("result", "payload"),
    [
        ({"content": []}, ""),
        ({"content": [text("a"), text("b")]}, "a\nb"),
        ({"content": [text('{"n":1}')], "structuredContent": {"n": 1}}, {"n": 1}),
        ({"content": [], "structuredContent": [1, 2]}, [1, 2]),
        (
            {"content": [{"type": "resource", "resource": {"uri": "file:///a", "text": "hi"}}]},
            "[resource file:///a]\nhi",
        ),
        (
            {"content": [{"type": "resource_link", "uri": "file:///a", "name": "A"}]},
            "[resource A file:///a]",
        ),
        (
            {"content": [{"type": "image", "data": "%", "mimeType": "image/png"}]},
            "[image that is not base64]",
        ),
        # What looks like an attachment of lash is the server's data.
        (
            {"content": [], "structuredContent": {"$lash_tool_value": "attachment"}},
            {"$lash_tool_value": "attachment"},
        ),
        ({"content": [{"type": "hologram"}]}, "[content of the unknown kind 'hologram']"),
        ({"content": [text("a\ud83d"), text("\ud83e\udd8a")]}, "a\ufffd\n🦊"),
    ],
)
def test_answers_become_values(result: JsonObject, payload: object) -> None:
    assert answer("s", "t", result, None).outcome == ToolSuccess(payload=payload)  # type: ignore[arg-type]  # plain JSON


def test_what_is_no_text_is_attached_beside_what_is() -> None:
    sound: JsonObject = {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}
    resource: JsonObject = {"uri": "file:///a", "blob": "AAA=", "mimeType": "no type"}
    blob: JsonObject = {"type": "resource", "resource": resource}
    tag = "$lash_tool_value"
    kept_sound = {
        tag: "attachment",
        "source": {"source": "inline", "data": "AAAA", "media_type": "audio/wav"},
    }
    kept_blob = {
        tag: "attachment",
        "source": {"source": "inline", "data": "AAA=", "label": "file:///a"},
    }
    for result, payload in (
        ({"content": [blob]}, kept_blob),
        ({"content": [text("a"), text("b"), sound, text("c")]}, ["a\nb", kept_sound, "c"]),
        # What looks like an attachment of lash is the server's data.
        (
            {"content": [sound], "structuredContent": {tag: "attachment"}},
            {
                "structured": {tag: "object", "entries": {tag: "attachment"}},
                "content": kept_sound,
            },
        ),
    ):
        assert answer("s", "t", result, None).outcome == ToolSuccess(  # type: ignore[arg-type]  # plain JSON
            payload=payload,  # type: ignore[arg-type]  # plain JSON
            has_attachments=True,
        )


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({"content": [text("no")], "isError": True}, "mcp_tool_error"),
        ({"content": [], "isError": True}, "mcp_tool_error"),
        ({"content": [], "structuredContent": {"n": float("nan")}}, "mcp_result_invalid"),
        ({"content": [], "structuredContent": {"n": "x"}}, "mcp_result_invalid"),
        ({"content": [text("no structure")]}, "mcp_result_invalid"),
    ],
)
def test_answers_that_are_none_become_failures(result: JsonObject, code: str) -> None:
    promised = checker({"type": "object", "properties": {"n": {"type": "number"}}})
    outcome = answer("s", "t", result, promised).outcome
    assert isinstance(outcome, ToolFailed)
    assert outcome.payload.code == code


# --- coming back ------------------------------------------------------------------------------------


def test_waits_double_up_to_the_longest() -> None:
    assert [rest_s(0.5, 30, n) for n in (1, 2, 3, 6, 7, 8, 10_000)] == [
        0.5,
        1,
        2,
        16,
        30,
        30,
        30,
    ]


def test_tries_end_after_as_many_as_allowed() -> None:
    assert [is_exhausted(n, 2) for n in (1, 2, 3)] == [False, False, True]
    assert not is_exhausted(1_000_000, None)
