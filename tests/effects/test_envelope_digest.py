"""The two-part digest: what was asked is identity, what a deploy changes is surroundings."""

import base64
import hashlib

import msgspec
import pytest
from effect_samples import attempt, llm_call, says
from hypothesis import given, settings
from hypothesis import strategies as st

from lash.core.json import encode
from lash.effects.commands import (
    CheckpointCommand,
    EffectCommand,
    LlmCallCommand,
    SleepCommand,
    SyncExecutionEnvironmentCommand,
    ToolBatchCommand,
)
from lash.effects.digest import Digester, EnvelopeDigest, short_digest
from lash.llm.request import GenerationOptions, HistoryRef, LlmMessage, ToolSpec
from lash.turn.tools import PendingToolCall

_LOOK = ToolSpec(name="look", description="Look.", input_schema={"type": "object"})


def digest(command: EffectCommand) -> EnvelopeDigest:
    return Digester().digest(command)


def by_hand(json: str) -> str:
    hashed = hashlib.sha256(json.encode()).digest()[:16]
    return "1:" + base64.urlsafe_b64encode(hashed).decode().rstrip("=")


# --- what is compared ---------------------------------------------------------------------------------


def test_digests_are_compatibility_data() -> None:
    """Journals of earlier releases are compared with these very bytes."""
    made = digest(attempt({"order": "7", "also": 1}))
    assert made.identity == by_hand(
        '{"args":{"also":1,"order":"7"},"call_id":"c1","tool_id":"look"}'
    )
    assert made.surroundings == ""
    assert digest(SleepCommand(duration_ms=5)).identity == by_hand('{"duration_ms":5}')

    message = by_hand('{"blocks":[{"text":"hello","type":"text"}],"role":"user"}')
    chain = by_hand(f'["","{message}"]')
    asked = digest(llm_call(says("hello")))
    assert asked.identity == by_hand(
        f'{{"added":1,"chain":"{chain}","history":"","last":["{message}"]}}'
    )
    model = by_hand('{"name":"model-1","provider":"scripted"}')
    instructions, tools = by_hand('"Be brief."'), by_hand("[]")
    assert asked.surroundings == by_hand(
        f'{{"instructions":"{instructions}","model":"{model}",'
        f'"tool_choice":"auto","tools":"{tools}"}}'
    )


@pytest.mark.parametrize(
    "other",
    [
        attempt({"order": "8"}),
        attempt(tool_id="search"),
        attempt(call_id="c2"),
        SleepCommand(duration_ms=1),
    ],
)
def test_asking_for_something_else_changes_the_identity(other: EffectCommand) -> None:
    asked, now = digest(attempt()), digest(other)
    assert (asked.kind, asked.identity) != (now.kind, now.identity)
    assert asked.identity != now.identity


def test_another_attempt_of_the_same_call_asks_for_the_same() -> None:
    assert digest(attempt(number=1)) == digest(attempt(number=2))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SleepCommand(duration_ms=1), SleepCommand(duration_ms=2)),
        (
            CheckpointCommand(checkpoint="after_work"),
            CheckpointCommand(checkpoint="before_completion"),
        ),
        (
            SyncExecutionEnvironmentCommand(update_machine_config=True),
            SyncExecutionEnvironmentCommand(update_machine_config=False),
        ),
        (
            ToolBatchCommand(
                batch_id="b", calls=(PendingToolCall(call_id="1", tool_name="x", args={}),)
            ),
            ToolBatchCommand(
                batch_id="b", calls=(PendingToolCall(call_id="2", tool_name="x", args={}),)
            ),
        ),
        (llm_call(says("hello")), llm_call(says("goodbye"))),
        (llm_call(says("hello")), llm_call(says("hello", "assistant"))),
        (llm_call(says("a"), says("b")), llm_call(says("b"), says("a"))),
        (
            llm_call(says("a"), history=HistoryRef(count=0, digest="x")),
            llm_call(says("a"), history=HistoryRef(count=0, digest="y")),
        ),
    ],
)
def test_every_kind_of_effect_has_an_identity(one: EffectCommand, other: EffectCommand) -> None:
    assert digest(one).identity != digest(other).identity
    assert digest(one).surroundings == digest(other).surroundings


@pytest.mark.parametrize(
    "other",
    [
        llm_call(instructions="Be long."),
        llm_call(model="model-2"),
        llm_call(tools=[_LOOK]),
        LlmCallCommand(request=msgspec.structs.replace(llm_call().request, tool_choice="none")),
        LlmCallCommand(
            request=msgspec.structs.replace(
                llm_call().request,
                model=msgspec.structs.replace(
                    llm_call().request.model, generation=GenerationOptions(temperature=0.5)
                ),
            )
        ),
    ],
)
def test_what_a_deploy_changes_changes_only_the_surroundings(other: EffectCommand) -> None:
    asked, now = digest(llm_call()), digest(other)
    assert asked.identity == now.identity
    assert asked.surroundings != now.surroundings


def test_who_asks_does_not_matter() -> None:
    request = llm_call().request
    scope = msgspec.structs.replace(request.scope, request_id="another")
    elsewhere = LlmCallCommand(request=msgspec.structs.replace(request, scope=scope))
    assert digest(elsewhere) == digest(llm_call())


# --- cost ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 10, 500])
def test_an_envelope_does_not_grow_with_the_transcript(length: int) -> None:
    history = HistoryRef(count=length, digest="session-node:v1:sha256:" + "0" * 64)
    old = [says(f"committed {number}") for number in range(length)]
    turn = [says("x" * length), says("y", "assistant"), says("z")]
    size = len(encode(digest(llm_call(*old, *turn, history=history)).envelope))
    assert size < 450


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every value that is turned into bytes to be hashed."""
    values: list[object] = []

    def noting(value: object) -> bytes:
        values.append(value)
        return encode(value)

    monkeypatch.setattr("lash.effects.digest.encode", noting)
    return values


def test_each_message_of_a_turn_is_hashed_once(encoded: list[object]) -> None:
    digester = Digester()
    transcript: list[LlmMessage] = []
    for number in range(50):
        transcript += [says(f"question {number}"), says(f"answer {number}", "assistant")]
        digester.digest(llm_call(*transcript))

    assert [value for value in encoded if isinstance(value, LlmMessage)] == transcript


def test_committed_history_is_not_hashed_at_all(encoded: list[object]) -> None:
    old = [says(f"committed {number}") for number in range(50)]
    Digester().digest(llm_call(*old, says("new"), history=HistoryRef(count=50, digest="d")))

    assert [value for value in encoded if isinstance(value, LlmMessage)] == [says("new")]


def test_instructions_and_tools_are_hashed_once(encoded: list[object]) -> None:
    digester = Digester()
    instructions, tools = "Be brief.", (_LOOK,)
    for number in range(50):
        command = llm_call(says(f"question {number}"), instructions=instructions, tools=tools)
        digester.digest(command)

    assert encoded.count(instructions) == 1
    assert encoded.count(tools) == 1


# --- laws ---------------------------------------------------------------------------------------------

_messages = st.lists(
    st.builds(says, st.text(max_size=4), st.sampled_from(["user", "assistant"])),
    min_size=1,
    max_size=6,
)


@settings(deadline=None)
@given(requests=st.lists(_messages, min_size=1, max_size=6))
def test_what_a_digester_remembers_never_changes_a_digest(requests: list[list[LlmMessage]]) -> None:
    remembering = Digester()
    for messages in requests:
        command = llm_call(*messages)
        assert remembering.digest(command) == digest(command)


@settings(deadline=None)
@given(messages=_messages)
def test_equal_content_in_other_objects_has_the_same_digest(messages: list[LlmMessage]) -> None:
    copies = [
        msgspec.json.decode(msgspec.json.encode(message), type=LlmMessage) for message in messages
    ]
    assert all(copy is not message for copy, message in zip(copies, messages, strict=True))
    digester = Digester()
    assert digester.digest(llm_call(*messages)) == digester.digest(llm_call(*copies))


@settings(deadline=None)
@given(one=_messages, other=_messages)
def test_transcripts_share_an_identity_only_when_they_are_equal(
    one: list[LlmMessage], other: list[LlmMessage]
) -> None:
    same = digest(llm_call(*one)).identity == digest(llm_call(*other)).identity
    assert same == (one == other)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=8,
    )
)
def test_a_digest_survives_the_journal(value: object) -> None:
    again = msgspec.json.decode(encode(value))
    assert short_digest(again) == short_digest(value)


def test_one_object_may_come_back_changed_only_as_another_object() -> None:
    """A digester recognises objects by identity, which is sound because they are immutable."""
    digester = Digester()
    for number in range(200):  # freed objects' addresses are used again
        instructions = f"Be {number}."
        command = llm_call(instructions=instructions)
        assert digester.digest(command) == digest(command)
