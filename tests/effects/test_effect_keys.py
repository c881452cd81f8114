"""Replay keys: two requests never share one, and the same request finds its own again."""

import pytest
from effect_strategies import names
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lash.core.causality import (
    EffectKind,
    EffectSubject,
    ReplayKey,
    RuntimeInvocation,
    RuntimeScope,
    TurnCauseRef,
    scope_effect,
    turn_effect,
)
from lash.core.text import key_part
from lash.effects.keys import (
    Ordinals,
    cancelled_key,
    direct_key,
    peek_key,
    process_key,
    sleep_key,
    step_key,
    trigger_key,
    value_key,
    wait_key,
)
from lash.effects.process_commands import (
    AwaitProcess,
    CancelProcess,
    DeleteSessionProcesses,
    EmitProcessEvent,
    ListProcesses,
    ParentEnd,
    ProcessCommand,
    SignalProcess,
    StartProcess,
    TransferProcesses,
    process_effect_id,
)

ordinals = st.integers(1, 30)

# --- written by hand ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (step_key("charge", 1), "step:charge:1"),
        (step_key("a:b", 12), "step:a%3Ab:12"),
        (step_key("100%", 1), "step:100%25:1"),
        (sleep_key(3), "sleep:3"),
        (cancelled_key(sleep_key(3)), "sleep:3:cancelled"),
        (wait_key("approved", 2), "await:approved:2"),
        (peek_key("approved", 2), "peek:approved:2"),
        (value_key("now", 4), "value:now:4"),
        (trigger_key("emit", 6), "trigger:emit:6"),
        (direct_key("host", request=None, ordinal=5), "direct:host:ordinal:5"),
        (direct_key("host", request="title", ordinal=5), "direct:request:title"),
        (direct_key("a:b", request="c:d", ordinal=1), "direct:request:c%3Ad"),
    ],
)
def test_keys_are_compatibility_data(key: str, expected: str) -> None:
    """Journals of earlier releases are looked up by these very strings."""
    assert key == expected


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (StartProcess(process_id="p", registration={"kind": "python"}), "process:start:p"),
        (ListProcesses(session_scope="s", mode="all"), "process:list:s:all"),
        (DeleteSessionProcesses(session_id="s"), "process:delete-session:s"),
        (AwaitProcess(process_id="p"), "process:await:p"),
        (CancelProcess(process_id="p", reason="enough"), "process:cancel:p"),
        (
            SignalProcess(process_id="p", signal_name="approved", signal_id="1", request=7),
            "process:signal:p:signal.approved:1",
        ),
        (EmitProcessEvent(process_id="p", event_key="e", request={}), "process:emit-event:p:e"),
        (AwaitProcess(process_id="refund:o-7%"), "process:await:refund%3Ao-7%25"),
        (ParentEnd(process_id="p", identity="i", policy="cancel"), "process:parent-end:i"),
    ],
)
def test_a_process_command_is_called_this(command: ProcessCommand, name: str) -> None:
    assert process_effect_id(command) == name
    assert process_key("s:t:0:0:exec_code:4", command, 2) == f"s:t:0:0:exec_code:4:{name}:2"
    assert process_key(None, command, 1) == f"process:{name}:1"


def test_a_transfer_is_called_after_what_is_moved() -> None:
    def named(*process_ids: str) -> str:
        command = TransferProcesses(from_scope="a", to_scope="b", process_ids=process_ids)
        return process_effect_id(command)

    assert named("p", "q").startswith("process:transfer:a:b:process-transfer%3Av1%3Asha256%3A")
    assert len({named(), named("p"), named("q"), named("p", "q"), named("q", "p")}) == 5


def test_an_effect_of_a_scope_of_its_own_is_named_by_its_key_alone() -> None:
    cause = TurnCauseRef(session_id="s", turn_id="t")
    assert scope_effect(kind="sleep", key="sleep:1", session_id="s", caused_by=cause) == (
        RuntimeInvocation(
            scope=RuntimeScope(session_id="s"),
            subject=EffectSubject(effect_id="sleep:1", kind="sleep"),
            caused_by=cause,
            replay=ReplayKey(key="sleep:1"),
        )
    )
    assert scope_effect(kind="sleep", key="sleep:1").scope == RuntimeScope(session_id="runtime")


# --- one request, one key -----------------------------------------------------------------------------


@settings(deadline=None)
@given(st.text(), st.text())
@example("a:b", "a%3Ab")
@example("%", "%25")
def test_a_name_as_part_of_a_key_is_told_from_every_other_name(one: str, other: str) -> None:
    assert ":" not in key_part(one)
    assert (key_part(one) == key_part(other)) == (one == other)


#: Every way in which host code asks for something, with what tells it from the others.
_asked = st.one_of(
    st.tuples(st.just("step"), names, ordinals),
    st.tuples(st.just("sleep"), ordinals),
    st.tuples(st.just("cancelled"), ordinals),
    st.tuples(st.just("wait"), names, ordinals),
    st.tuples(st.just("peek"), names, ordinals),
    st.tuples(st.just("value"), st.sampled_from(["now", "random", "uuid"]), ordinals),
    st.tuples(st.just("direct"), names, ordinals),
    st.tuples(st.just("request"), names, names),
)


def key_of(asked: tuple[object, ...]) -> str:
    match asked:
        case "step", str(name), int(ordinal):
            return step_key(name, ordinal)
        case "sleep", int(ordinal):
            return sleep_key(ordinal)
        case "cancelled", int(ordinal):
            return cancelled_key(sleep_key(ordinal))
        case "wait", str(name), int(ordinal):
            return wait_key(name, ordinal)
        case "peek", str(name), int(ordinal):
            return peek_key(name, ordinal)
        case "value", str(name), int(ordinal):
            return value_key(name, ordinal)
        case "direct", str(source), int(ordinal):
            return direct_key(source, request=None, ordinal=ordinal)
        case "request", str(source), str(request):
            return direct_key(source, request=request, ordinal=1)
    raise AssertionError(asked)


@settings(deadline=None)
@given(_asked, _asked)
def test_different_requests_have_different_keys(
    one: tuple[object, ...], other: tuple[object, ...]
) -> None:
    assert (key_of(one) == key_of(other)) == (meant(one) == meant(other))


def meant(asked: tuple[object, ...]) -> tuple[object, ...]:
    """A request that has a name of its own is the same whoever's tokens it uses."""
    return ("request", asked[2]) if asked[0] == "request" else asked


def test_a_name_that_looks_like_another_key_stands_apart() -> None:
    assert step_key("a:1", 2) != step_key("a", 1) + ":2"
    assert direct_key("a", request="ordinal:1", ordinal=9) != direct_key(
        "a", request=None, ordinal=1
    )
    assert direct_key("request", request=None, ordinal=1) != direct_key(
        "a", request="ordinal:1", ordinal=1
    )


@settings(deadline=None)
@given(names, names, st.integers(0, 3), st.integers(0, 3))
def test_effects_of_a_turn_never_share_a_key(one: str, other: str, index: int, number: int) -> None:
    """Within one turn, which is one journal, whatever the session and the turn are called."""
    kinds: tuple[EffectKind, ...] = ("llm_call", "tool_batch", "checkpoint")
    keys = {
        turn_effect(
            session_id=one,
            turn_id=other,
            turn_index=turn_index,
            protocol_iteration=iteration,
            kind=kind,
            effect_id=effect_id,
        ).replay
        for turn_index in (index, index + 1)
        for iteration in (index, index + 7)
        for kind in kinds
        for effect_id in (number, number + 1, number + 11)
    }
    assert len(keys) == 2 * 2 * 3 * 3


# --- ordinals -----------------------------------------------------------------------------------------


def test_every_lane_counts_from_one_for_itself() -> None:
    taken = Ordinals()
    assert [taken.take("a"), taken.take("a"), taken.take("b"), taken.take("a")] == [1, 2, 1, 3]
    assert Ordinals().take("a") == 1


def test_two_equal_process_commands_are_two_effects() -> None:
    taken = Ordinals()

    def ask(command: ProcessCommand) -> str:
        return process_key("parent", command, taken.take(process_effect_id(command)))

    listing = ListProcesses(session_scope="s")
    first = ask(listing)
    cancelled = ask(CancelProcess(process_id="p", reason="enough"))
    assert [first, cancelled, ask(listing)] == [
        "parent:process:list:s:live:1",
        "parent:process:cancel:p:1",
        "parent:process:list:s:live:2",
    ]
    # Another reason is another occurrence, and not a conflict with the first.
    assert ask(CancelProcess(process_id="p", reason="really")) == "parent:process:cancel:p:2"


def test_two_equal_unkeyed_completions_are_two_effects_and_named_ones_are_one() -> None:
    taken = Ordinals()

    def ask(request: str | None) -> str:
        ordinal = taken.take("host") if request is None else 0
        return direct_key("host", request=request, ordinal=ordinal)

    assert [ask(None), ask("title"), ask(None), ask("title")] == [
        "direct:host:ordinal:1",
        "direct:request:title",
        "direct:host:ordinal:2",
        "direct:request:title",
    ]


# --- process commands ---------------------------------------------------------------------------------

_commands = st.one_of(
    st.builds(StartProcess, process_id=names, registration=st.just({})),
    st.builds(ListProcesses, session_scope=names, mode=st.sampled_from(["live", "all"])),
    st.builds(
        TransferProcesses,
        from_scope=names,
        to_scope=names,
        process_ids=st.lists(names, max_size=2).map(tuple),
    ),
    st.builds(DeleteSessionProcesses, session_id=names),
    st.builds(AwaitProcess, process_id=names),
    st.builds(CancelProcess, process_id=names),
    st.builds(SignalProcess, process_id=names, signal_name=names, signal_id=names),
    st.builds(EmitProcessEvent, process_id=names, event_key=names, request=st.just({})),
    st.builds(ParentEnd, process_id=st.just("p"), identity=names, policy=st.just("cancel")),
)


@settings(deadline=None)
@given(_commands, _commands, ordinals, ordinals)
def test_process_keys_tell_occurrences_apart(
    one: ProcessCommand, other: ProcessCommand, first: int, second: int
) -> None:
    same = process_key("k", one, first) == process_key("k", other, second)
    assert same == (one == other and first == second)


@settings(deadline=None)
@given(_commands, _commands)
@example(
    SignalProcess(process_id="p", signal_name="a:1", signal_id="2"),
    SignalProcess(process_id="p", signal_name="a", signal_id="1:2"),
)
def test_different_process_commands_have_different_names(
    one: ProcessCommand, other: ProcessCommand
) -> None:
    assert (process_effect_id(one) == process_effect_id(other)) == (one == other)
