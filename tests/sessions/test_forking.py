"""Where a session may be forked, as a pure decision: against every cut of random histories."""

from hypothesis import given
from hypothesis import strategies as st

from lash.sessions.forking import Forked, ForkFacts, ForkRefused, ForkRequest, plan_fork
from lash.sessions.model import FrameOpen, SessionHead, SessionNode
from lash.testing.conformance.samples import SUPPORT, tool_call, tool_result
from lash.turn.messages import Message, is_valid_transcript, text_message


def node(place: int, content: Message | FrameOpen) -> SessionNode:
    """A node named by its place."""
    is_frame = isinstance(content, FrameOpen)
    return SessionNode(
        session_id="s",
        node_id=f"n{place}",
        digest=f"d{place}",
        turn_id="t1",
        message=None if isinstance(content, FrameOpen) else content,
        frame=content if is_frame and isinstance(content, FrameOpen) else None,
        parent_id=f"n{place - 1}" if place else None,
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[SessionNode, ...]:
    """Whole histories: text, frames, and tool calls that are answered in any order."""
    contents: list[Message | FrameOpen] = []
    for group in draw(st.lists(st.integers(0, 4), min_size=1, max_size=5)):
        number = len(contents)
        if group == 4:
            contents.append(FrameOpen(frame_id=f"f{number}", reason="open", previous_frame_id=""))
            continue
        contents.append(text_message(f"m{number}", "assistant", "hi"))
        calls = [f"c{number}-{call}" for call in range(group)]
        contents += [tool_call(f"call-{call}", call) for call in calls]
        contents += [tool_result(f"result-{call}", call) for call in draw(st.permutations(calls))]
    return tuple(node(place, content) for place, content in enumerate(contents))


def facts(path: tuple[SessionNode, ...]) -> ForkFacts:
    source = SessionHead(
        session_id="s",
        agent=SUPPORT,
        created_at_ms=1,
        leaf_id=path[-1].node_id,
        leaf_digest=path[-1].digest,
    )
    return ForkFacts(now_ms=7, source=source, path=path)


@given(histories(), st.data())
def test_every_cut_is_a_fork_exactly_where_the_transcript_is_valid(
    path: tuple[SessionNode, ...], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(path) - 1))
    valid = [
        is_valid_transcript([item.message for item in path[: end + 1] if item.message])
        for end in range(len(path))
    ]

    answer = plan_fork(facts(path), ForkRequest(source_id="s", new_id="f", node_id=f"n{place}"))

    if valid[place]:
        assert isinstance(answer, Forked)
        assert (answer.head.leaf_id, answer.head.leaf_digest) == (f"n{place}", f"d{place}")
    else:
        assert isinstance(answer, ForkRefused)
        assert answer.code == "fork_point_invalid"
        distances = {abs(other - place) for other in range(len(path)) if valid[other]}
        named = answer.message.rsplit("'", 2)[1]
        assert valid[int(named[1:])]
        assert abs(int(named[1:]) - place) == min(distances)


def test_the_frame_is_that_of_the_last_opening_before_the_cut() -> None:
    frames = [FrameOpen(frame_id=name, reason="open", previous_frame_id="") for name in "ab"]
    path = (
        node(0, text_message("m0", "user", "hello")),
        node(1, frames[0]),
        node(2, text_message("m2", "user", "hello")),
        node(3, frames[1]),
        node(4, text_message("m4", "user", "hello")),
    )

    found = []
    for place in range(4):
        wanted = ForkRequest(source_id="s", new_id="f", node_id=f"n{place}")
        answer = plan_fork(facts(path), wanted)
        assert isinstance(answer, Forked)
        found.append(answer.head.frame_id)

    assert found == ["", "a", "a", "b"]


def test_of_two_nodes_of_one_name_the_later_one_is_meant() -> None:
    path = tuple(
        SessionNode(
            session_id="s",
            node_id=name,
            digest=f"d{place}",
            turn_id="t1",
            message=text_message(name, "user", "hello"),
        )
        for place, name in enumerate(["twin", "twin", "last"])
    )

    answer = plan_fork(facts(path), ForkRequest(source_id="s", new_id="f", node_id="twin"))

    assert isinstance(answer, Forked)
    assert answer.head.leaf_digest == "d1"
