"""Rendering a transcript for a provider: each kind by hand, then the promise about prefixes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.attachments import ExternalUrlSource
from lash.core.json import JsonValue
from lash.llm.request import (
    LlmBlock,
    LlmMessage,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
)
from lash.turn.messages import (
    Cleared,
    Deleted,
    Message,
    Part,
    PartKind,
    PluginOrigin,
    PruneState,
    Role,
    Summarized,
    text_message,
)
from lash.turn.projection import Projection, render_message


def rendered(role: Role, *parts: Part) -> LlmMessage | None:
    return render_message(Message(id="m", role=role, parts=parts))


def part(kind: PartKind, content: str, prune: PruneState | None = None) -> Part:
    return Part(id="m.p0", kind=kind, content=content, prune=prune)


TEXT_KINDS: list[PartKind] = ["text", "prose", "code", "output", "error"]


@pytest.mark.parametrize("kind", TEXT_KINDS)
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_users_and_assistants_are_rendered_word_for_word(role: Role, kind: PartKind) -> None:
    assert rendered(role, part(kind, " hi\n")) == LlmMessage(
        role="user" if role == "user" else "assistant", blocks=(TextBlock(text=" hi\n"),)
    )


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("text", "Runtime note:\nhi"),
        ("prose", "Runtime note:\nhi"),
        ("code", "Runtime note:\nhi"),
        ("output", "Runtime note:\n<output>hi</output>"),
        ("error", "Runtime note:\n<error>hi</error>"),
    ],
)
def test_a_system_message_is_a_note_of_the_runtime(kind: PartKind, shown: str) -> None:
    assert rendered("system", part(kind, "hi")) == LlmMessage(
        role="system", blocks=(TextBlock(text=shown),)
    )


def test_an_event_becomes_a_user_message_that_says_so() -> None:
    assert rendered("event", part("text", "rang")) == LlmMessage(
        role="user", blocks=(TextBlock(text="Runtime event:\nrang"),)
    )


def test_a_tool_call_keeps_its_argument_text_byte_for_byte() -> None:
    call = Part(
        id="m.p0",
        kind="tool_call",
        content='{ "q":1 ',
        tool_call_id="c",
        tool_name="lookup",
        replay={"sig": 1},
    )
    assert rendered("assistant", call) == LlmMessage(
        role="assistant",
        blocks=(
            ToolCallBlock(
                call_id="c", tool_name="lookup", input_json='{ "q":1 ', replay={"sig": 1}
            ),
        ),
    )


@pytest.mark.parametrize("content", ["found", ""])
def test_a_tool_result_is_shown_also_when_it_is_empty(content: str) -> None:
    result = Part(
        id="m.p0", kind="tool_result", content=content, tool_call_id="c", tool_name="lookup"
    )
    assert rendered("user", result) == LlmMessage(
        role="user", blocks=(ToolResultBlock(call_id="c", content=content, tool_name="lookup"),)
    )


@pytest.mark.parametrize("replay", [None, "", {}, []])
def test_reasoning_without_its_proof_is_not_sent_back(replay: JsonValue) -> None:
    reasoning = Part(id="m.p0", kind="reasoning", content="hm", replay=replay)
    assert rendered("assistant", reasoning) is None


def test_reasoning_goes_back_with_its_proof_also_when_its_text_is_hidden() -> None:
    reasoning = Part(id="m.p0", kind="reasoning", content="", replay={"id": "r1"})
    assert rendered("assistant", reasoning) == LlmMessage(
        role="assistant", blocks=(ReasoningBlock(text="", replay={"id": "r1"}),)
    )


def test_parts_keep_their_order_and_empty_ones_are_left_out() -> None:
    message = rendered(
        "assistant",
        part("prose", "one"),
        part("prose", ""),
        Part(id="x", kind="reasoning", content="hm", replay=1),
        Part(id="y", kind="tool_call", content="{}", tool_call_id="c", tool_name="t"),
    )
    assert message is not None
    assert [type(block) for block in message.blocks] == [TextBlock, ReasoningBlock, ToolCallBlock]


@pytest.mark.parametrize("role", ["user", "assistant", "system", "event"])
def test_a_message_of_which_nothing_is_shown_is_left_out(role: Role) -> None:
    assert rendered(role) is None
    assert rendered(role, part("text", "")) is None


@pytest.mark.parametrize(
    ("prune", "shown"),
    [
        (Cleared(), "[Old tool result content cleared]"),
        (Deleted(breadcrumb="a table", archive_hash="h"), "[pruned:h — a table]"),
        (Summarized(summary="It is 7.", archive_hash="h"), "[SUMMARY of original h]\nIt is 7."),
    ],
)
def test_a_pruned_part_is_shown_as_what_is_left_of_it(prune: PruneState, shown: str) -> None:
    result = Part(id="m.p0", kind="tool_result", content="long", tool_call_id="c", prune=prune)
    assert rendered("user", result) == LlmMessage(
        role="user", blocks=(ToolResultBlock(call_id="c", content=shown),)
    )
    assert rendered("user", part("text", "long", prune)) == LlmMessage(
        role="user", blocks=(TextBlock(text=shown),)
    )


def test_a_transient_message_is_rendered_like_any_other() -> None:
    passing = text_message("m", "user", "x", origin=PluginOrigin(plugin_id="p", transient=True))
    assert render_message(passing) == LlmMessage(role="user", blocks=(TextBlock(text="x"),))


# --- prefixes -------------------------------------------------------------------------------------

parts = st.builds(
    Part,
    id=st.just("p"),
    kind=st.sampled_from([*TEXT_KINDS, "tool_call", "tool_result", "reasoning"]),
    content=st.sampled_from(["", "x", "a\nb"]),
    tool_call_id=st.none() | st.just("c"),
    replay=st.none() | st.just({"r": 1}),
    prune=st.none() | st.just(Cleared()),
)
transcripts = st.lists(
    st.builds(
        Message,
        id=st.just("m"),
        role=st.sampled_from(["user", "assistant", "system", "event"]),
        parts=st.lists(parts, max_size=3).map(tuple),
    ),
    max_size=8,
)


@given(transcripts, st.data())
def test_the_rendering_of_a_longer_transcript_begins_with_that_of_a_shorter_one(
    messages: list[Message], data: st.DataObject
) -> None:
    shorter = messages[: data.draw(st.integers(0, len(messages)))]
    before = Projection().extend(shorter)
    after = Projection().extend(messages)
    assert after[: len(before)] == before


@given(transcripts, st.lists(st.integers(0, 8), max_size=5))
def test_extending_step_by_step_is_rendering_at_once(
    messages: list[Message], steps: list[int]
) -> None:
    projection = Projection()
    for step in sorted(steps):
        projection.extend(messages[:step])
    expected: list[LlmBlock] = []
    for message in messages:
        one = render_message(message)
        expected.extend(one.blocks if one else ())
    flat = [block for item in projection.extend(messages) for block in item.blocks]
    assert flat == expected


def test_a_fork_goes_on_without_touching_its_origin() -> None:
    first, second, third = (text_message(f"m{n}", "user", f"{n}") for n in range(3))
    origin = Projection()
    origin.extend([first])
    fork = origin.fork()
    fork.extend([first, second])
    assert [block for item in origin.extend([first, third]) for block in item.blocks] == [
        TextBlock(text="0"),
        TextBlock(text="2"),
    ]
    assert [block for item in fork.extend([first, second]) for block in item.blocks] == [
        TextBlock(text="0"),
        TextBlock(text="1"),
    ]


def test_it_is_known_without_looking_again_whether_anything_shows_an_attachment() -> None:
    where = ExternalUrlSource(media_type="image/png", url="https://example.com/a.png")
    plain = [text_message("m1", "user", "Hello."), text_message("m2", "assistant", "Hello!")]
    picture = Message(
        id="m3",
        role="user",
        parts=(Part(id="m3.p0", kind="attachment", content="", attachment=where),),
    )
    answered = Message(
        id="m3",
        role="user",
        parts=(Part(id="m3.p0", kind="tool_result", content="a", pieces=("a", where)),),
    )
    for shows in (picture, answered):
        before = Projection()
        before.extend(plain)
        after = before.fork()
        rendered = after.extend([*plain, shows])
        told = [before, before.fork(), after, after.fork(), Projection(rendered, 3)]
        assert [each.has_attachments for each in told] == [False, False, True, True, True]
