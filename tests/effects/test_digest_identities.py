"""What every kind of effect is compared by, and how little of it an envelope holds."""

import base64
import hashlib

import msgspec
import pytest
from effect_samples import CHECKPOINT, KEY, STEP, SYNC, attempt, llm_call, says
from effect_strategies import json_objects, json_values
from hypothesis import given, settings
from hypothesis import strategies as st

from lash.core.json import JsonObject, JsonValue, encode
from lash.core.scopes import ProcessScope
from lash.effects.commands import (
    AwaitEventCommand,
    DirectCommand,
    DurableStepCommand,
    EffectCommand,
    ExecCodeCommand,
    PeekAwaitEventCommand,
    ProcessEffectCommand,
    RuntimeValueCommand,
    SleepCommand,
    ToolBatchCommand,
    TriggerEffectCommand,
)
from lash.effects.digest import Digester, EnvelopeDigest, shown, surroundings_of
from lash.effects.process_commands import CancelProcess, SignalProcess
from lash.effects.trigger_commands import DeleteTrigger, PruneTriggers
from lash.effects.waits.keys import mint
from lash.effects.waits.model import CustomWait
from lash.llm.request import JsonObjectOutput
from lash.turn.tools import PendingToolCall


def digest(command: EffectCommand) -> EnvelopeDigest:
    return Digester().digest(command)


def by_hand(json: str) -> str:
    hashed = hashlib.sha256(json.encode()).digest()[:16]
    return "1:" + base64.urlsafe_b64encode(hashed).decode().rstrip("=")


def direct(
    *texts: str, source: str = "host", output: JsonObjectOutput | None = None
) -> DirectCommand:
    request = llm_call(*(says(text) for text in texts)).request
    return DirectCommand(
        request=msgspec.structs.replace(request, output=output), usage_source=source
    )


_PENDING = PendingToolCall(call_id="c1", tool_name="look", args={"order": "7"})
_HELLO = by_hand('{"blocks":[{"text":"hello","type":"text"}],"role":"user"}')

#: What stands for each kind in its envelope, written by hand.
IDENTITIES: list[tuple[EffectCommand, JsonObject]] = [
    (
        llm_call(says("hello")),
        {
            "history": "",
            "added": 1,
            "chain": by_hand(f'["","{_HELLO}"]'),
            "last": [_HELLO],
        },
    ),
    (direct("hello"), {"messages": [_HELLO], "output": None, "usage_source": "host"}),
    (
        direct("hello", output=JsonObjectOutput()),
        {"messages": [_HELLO], "output": {"type": "json_object"}, "usage_source": "host"},
    ),
    (ToolBatchCommand(batch_id="b1", calls=(_PENDING,)), {"batch_id": "b1", "calls": ["c1"]}),
    (attempt(), {"tool_id": "look", "call_id": "c1", "args": {"order": "7"}}),
    (ExecCodeCommand(language="lashlang", code="1 + 1"), {"language": "lashlang", "code": "1 + 1"}),
    (CHECKPOINT, {"checkpoint": "after_work"}),
    (SYNC, {"update_machine_config": False}),
    (SleepCommand(duration_ms=5), {"duration_ms": 5}),
    (AwaitEventCommand(key=KEY), {"key_id": "id"}),
    (PeekAwaitEventCommand(key=KEY), {"key_id": "id"}),
    (STEP, {"step_id": "charge", "input": {"order": "7"}}),
    (DurableStepCommand(step_id="charge"), {"step_id": "charge", "input": None}),
    (
        DurableStepCommand(step_id="charge", input=[1, "two"]),
        {"step_id": "charge", "input": [1, "two"]},
    ),
    (
        TriggerEffectCommand(
            command=DeleteTrigger(
                owner_scope={"session_id": "s"}, subscription_key="k", expected_revision=3
            )
        ),
        {
            "command": {
                "op": "delete",
                "owner_scope": {"session_id": "s"},
                "subscription_key": "k",
                "expected_revision": 3,
            }
        },
    ),
    (
        ProcessEffectCommand(command=CancelProcess(process_id="p", reason="enough")),
        {"command": {"op": "cancel", "process_id": "p", "reason": "enough"}},
    ),
    (RuntimeValueCommand(operation="now"), {"operation": "now"}),
]


@pytest.mark.parametrize(
    ("command", "identity"), IDENTITIES, ids=[type(command).__name__ for command, _ in IDENTITIES]
)
def test_an_envelope_holds_exactly_this_of_what_was_asked(
    command: EffectCommand, identity: JsonObject
) -> None:
    assert digest(command).envelope["identity"] == identity


@pytest.mark.parametrize("command", [command for command, _ in IDENTITIES])
def test_only_model_calls_have_surroundings(command: EffectCommand) -> None:
    made = digest(command)
    if made.kind in ("llm_call", "direct"):
        instructions, tools = by_hand('"Be brief."'), by_hand("[]")
        model = by_hand('{"name":"model-1","provider":"scripted"}')
        assert made.surroundings == by_hand(
            f'{{"instructions":"{instructions}","model":"{model}",'
            f'"tool_choice":"auto","tools":"{tools}"}}'
        )
    else:
        assert (made.surroundings, set(made.envelope)) == ("", {"identity"})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (direct("hello"), direct("goodbye")),
        (direct("hello"), direct("hello", "hello")),
        (direct("hello"), direct("hello", source="title")),
        (direct("hello"), direct("hello", output=JsonObjectOutput())),
        (ExecCodeCommand(language="a", code="1"), ExecCodeCommand(language="a", code="2")),
        (ExecCodeCommand(language="a", code="1"), ExecCodeCommand(language="b", code="1")),
        (STEP, DurableStepCommand(step_id="refund", input={"order": "7"})),
        (STEP, DurableStepCommand(step_id="charge", input={"order": "8"})),
        (STEP, DurableStepCommand(step_id="charge", input={"order": 7})),
        (RuntimeValueCommand(operation="now"), RuntimeValueCommand(operation="random")),
        (
            ProcessEffectCommand(command=CancelProcess(process_id="p")),
            ProcessEffectCommand(command=CancelProcess(process_id="q")),
        ),
        (
            ProcessEffectCommand(command=CancelProcess(process_id="p")),
            ProcessEffectCommand(command=CancelProcess(process_id="p", reason="enough")),
        ),
        (
            TriggerEffectCommand(command=PruneTriggers(owner_scope={}, subscription_keys=("a",))),
            TriggerEffectCommand(command=PruneTriggers(owner_scope={}, subscription_keys=("b",))),
        ),
    ],
)
def test_asking_for_something_else_is_seen(one: EffectCommand, other: EffectCommand) -> None:
    assert digest(one).identity != digest(other).identity
    assert digest(one).surroundings == digest(other).surroundings


def test_another_attempt_of_a_step_asks_for_the_same() -> None:
    again = DurableStepCommand(step_id="charge", input={"order": "7"}, attempt=2, max_attempts=5)
    assert digest(again) == digest(STEP)


# --- size ---------------------------------------------------------------------------------------------


def test_a_part_stands_as_itself_up_to_512_bytes_and_as_size_and_hash_above() -> None:
    small, large = "x" * 510, "x" * 511  # and two quotes
    made = digest(attempt({"small": small, "large": large}))

    assert made.envelope["identity"] == {
        "tool_id": "look",
        "call_id": "c1",
        "args": {
            "small": small,
            "large": {"bytes": 513, "digest": by_hand(f'"{large}"')},
        },
    }


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (attempt({"text": "x" * 99_998}), ("args", "text")),
        (DurableStepCommand(step_id="s", input={"text": "x" * 99_998}), ("input", "text")),
        (DurableStepCommand(step_id="s", input="x" * 99_998), ("input",)),
        (ExecCodeCommand(language="a", code="x" * 99_998), ("code",)),
        (
            ProcessEffectCommand(
                command=SignalProcess(
                    process_id="p", signal_name="n", signal_id="1", request="x" * 99_998
                )
            ),
            ("command", "request"),
        ),
    ],
)
def test_a_large_argument_makes_no_large_envelope(
    command: EffectCommand, path: tuple[str, ...]
) -> None:
    made = digest(command)
    part: JsonValue = made.envelope["identity"]
    for step in path:
        assert isinstance(part, dict)
        part = part[step]

    assert part == {"bytes": 100_000, "digest": by_hand('"' + "x" * 99_998 + '"')}
    assert len(encode(made.envelope)) < 300


def test_large_arguments_that_differ_at_their_end_are_told_apart() -> None:
    one, other = digest(attempt({"a": "x" * 9999 + "1"})), digest(attempt({"a": "x" * 9999 + "2"}))
    assert one.identity != other.identity


@settings(deadline=None)
@given(json_values)
def test_what_is_shown_of_a_value_is_small_and_tells_it_apart(value: JsonValue) -> None:
    assert len(encode(shown(value))) <= 512
    assert shown([value]) != shown([value, value])


@settings(deadline=None)
@given(json_objects, json_objects)
def test_arguments_share_an_identity_only_when_they_are_equal(
    one: dict[str, JsonValue], other: dict[str, JsonValue]
) -> None:
    same = digest(attempt({"a": one})).identity == digest(attempt({"a": other})).identity
    assert same == (encode(one) == encode(other))


# --- secrets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [AwaitEventCommand, PeekAwaitEventCommand])
def test_the_signature_of_a_key_is_in_no_envelope(
    kind: type[AwaitEventCommand | PeekAwaitEventCommand],
) -> None:
    key = mint(b"s" * 32, ProcessScope(process_id="p"), CustomWait(key="k"))
    made = digest(kind(key=key))
    assert key.signature not in encode(made).decode()
    assert made.envelope == {"identity": {"key_id": key.key_id}}


# --- what surrounds a model call ----------------------------------------------------------------------


def test_the_content_of_surroundings_is_what_their_digest_is_made_of() -> None:
    content = surroundings_of(llm_call(instructions="Be long.").request)
    assert encode(content).decode() == (
        '{"instructions":"Be long.","model":{"name":"model-1","provider":"scripted"},'
        '"tool_choice":"auto","tools":[]}'
    )


_texts = st.text(max_size=3)


@settings(deadline=None)
@given(_texts, _texts)
def test_surroundings_have_one_content_each(one: str, other: str) -> None:
    first, second = llm_call(instructions=one), llm_call(instructions=other)
    same = encode(surroundings_of(first.request)) == encode(surroundings_of(second.request))
    assert (digest(first).surroundings == digest(second).surroundings) == same == (one == other)
