"""What to do with an effect, given what is recorded: the table, the reports, the limits."""

import msgspec
import pytest
from effect_samples import attempt, found, llm_call, says
from hypothesis import given, settings
from hypothesis import strategies as st

from lash.core.json import encode
from lash.effects.commands import EffectCommand, SleepCommand
from lash.effects.digest import Digester, EnvelopeDigest
from lash.effects.journal import JournalRecord
from lash.effects.outcomes import (
    CheckpointOutcome,
    EffectFailed,
    EffectOutcome,
    SleepOutcome,
    SyncExecutionEnvironmentOutcome,
)
from lash.effects.transitions import (
    MAX_OUTCOME_BYTES,
    MAX_REPORTED_PATHS,
    DriftRefused,
    Execute,
    Mismatch,
    Replay,
    decide,
    fit_outcome,
    is_deferred,
    largest_part,
    replay_error,
)
from lash.llm.request import HistoryRef, ToolSpec
from lash.turn.exchange import CheckpointDelivery, ExecutionEnvironment
from lash.turn.messages import text_message


def asked(
    kind: str = "llm_call", identity: str = "i1", surroundings: str = "s1", text: str = "x"
) -> EnvelopeDigest:
    return EnvelopeDigest(
        kind=kind,
        identity=identity,
        surroundings=surroundings,
        envelope={"identity": {"what": text}, "surroundings": {"model": surroundings}},
    )


def recorded(of: EnvelopeDigest, outcome: str = '"kept"') -> JournalRecord:
    return JournalRecord(
        replay_key="e1",
        kind=of.kind,
        identity=of.identity,
        surroundings=of.surroundings,
        envelope=encode(of.envelope).decode(),
        outcome=outcome,
    )


# --- the table -----------------------------------------------------------------------------------------

NOW = asked()
KIND = "the code now makes another kind of call at this point"
MODEL = "the model or its options changed"


@pytest.mark.parametrize("policy", ["accept", "refuse", "restart"])
def test_what_is_not_recorded_is_executed(policy: str) -> None:
    assert decide(None, NOW, policy) == Execute()  # type: ignore[arg-type]  # a parametrised literal


@pytest.mark.parametrize("policy", ["accept", "refuse", "restart"])
def test_what_is_recorded_is_replayed(policy: str) -> None:
    assert decide(recorded(NOW), NOW, policy) == Replay(outcome='"kept"')  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("policy", ["accept", "refuse", "restart"])
@pytest.mark.parametrize(
    ("before", "expected"),
    [
        # Another kind outranks all else, and its parts are not compared with ours.
        (
            asked(kind="sleep", identity="i2", surroundings="s2", text="y"),
            Mismatch(paths=("kind",), count=1, cause=KIND),
        ),
        (asked(kind="sleep"), Mismatch(paths=("kind",), count=1, cause=KIND)),
        # Another identity outranks drift.
        (
            asked(identity="i2", surroundings="s2", text="y"),
            Mismatch(
                paths=("identity.what",),
                count=1,
                cause="the code changed since the effect was recorded",
            ),
        ),
        # Digests decide; where the kept envelopes show no difference, the whole part is named.
        (
            asked(identity="i2"),
            Mismatch(
                paths=("identity",),
                count=1,
                cause="the code changed since the effect was recorded",
            ),
        ),
    ],
)
def test_a_record_of_something_else_is_a_mismatch_under_any_policy(
    before: EnvelopeDigest, expected: Mismatch, policy: str
) -> None:
    assert decide(recorded(before), NOW, policy) == expected  # type: ignore[arg-type]  # as above


def test_drift_is_replayed_and_reported_or_refused() -> None:
    before = recorded(asked(surroundings="s0"))

    assert decide(before, NOW) == Replay(outcome='"kept"', drift=("surroundings.model",))
    refused = DriftRefused(paths=("surroundings.model",), cause=MODEL)
    assert decide(before, NOW, "refuse") == refused
    assert decide(before, NOW, "restart") == refused


@pytest.mark.parametrize("envelope", ["", "{", "7", "[]", '"text"', "null"])
def test_an_unreadable_envelope_spoils_the_report_and_not_the_decision(envelope: str) -> None:
    before = msgspec.structs.replace(recorded(asked(surroundings="s0")), envelope=envelope)
    other = msgspec.structs.replace(recorded(asked(identity="i0")), envelope=envelope)

    assert decide(before, NOW) == Replay(outcome='"kept"', drift=("surroundings",))
    mismatch = decide(other, NOW)
    assert isinstance(mismatch, Mismatch)
    assert mismatch.paths == ("identity",)


# --- paths and causes ------------------------------------------------------------------------------------

_HISTORY = HistoryRef(count=1, digest="h1")
_TOOL = ToolSpec(name="look", description="Look.", input_schema={})
_OLD = says("committed")
_ASKED = llm_call(_OLD, says("hi"), says("yes?", "assistant"), says("order 7"), history=_HISTORY)


def compare(before: EffectCommand, now: EffectCommand) -> Mismatch | Replay:
    decision = decide(recorded(Digester().digest(before)), Digester().digest(now))
    assert isinstance(decision, Mismatch | Replay)
    return decision


@pytest.mark.parametrize(
    ("before", "now", "paths", "cause"),
    [
        (attempt(), SleepCommand(duration_ms=1), {"kind"}, KIND),
        (
            attempt({"order": "7", "deep": {"list": [1, 2]}}),
            attempt({"order": "8", "deep": {"list": [1, 3, 4]}, "new": None}),
            {
                "identity.args.order",
                "identity.args.deep.list[1]",
                "identity.args.deep.list[2]",
                "identity.args.new",
            },
            "the tool is now called with other arguments",
        ),
        (
            attempt({"n": 1}),
            attempt({"n": True}),
            {"identity.args.n"},
            "the tool is now called with other arguments",
        ),
        (
            attempt(),
            attempt(tool_id="search"),
            {"identity.tool_id"},
            "another tool is now called at this point",
        ),
        (
            SleepCommand(duration_ms=1),
            SleepCommand(duration_ms=2),
            {"identity.duration_ms"},
            "the wait has another length",
        ),
        (
            _ASKED,
            llm_call(
                _OLD,
                says("hi"),
                says("yes?", "assistant"),
                says("order 7"),
                history=HistoryRef(count=1, digest="h2"),
            ),
            {"identity.history"},
            "the session's committed history is not what the turn began with",
        ),
        (
            _ASKED,
            llm_call(
                _OLD, says("hi"), says("yes?", "assistant"), says("order 8"), history=_HISTORY
            ),
            {"identity.chain", "identity.last[1]"},
            "a message of the turn differs: its input, a tool's result or its wording",
        ),
        (
            _ASKED,
            llm_call(
                _OLD, says("hello"), says("yes?", "assistant"), says("order 7"), history=_HISTORY
            ),
            {"identity.chain"},
            "an earlier message of the turn differs",
        ),
        (
            _ASKED,
            llm_call(_OLD, says("hi"), says("yes?", "assistant"), history=_HISTORY),
            {"identity.added", "identity.chain", "identity.last[1]"},
            "the turn now holds another number of messages at this point",
        ),
    ],
)
def test_a_mismatch_names_where_and_why(
    before: EffectCommand, now: EffectCommand, paths: set[str], cause: str
) -> None:
    decision = compare(before, now)

    assert isinstance(decision, Mismatch)
    assert set(decision.paths) == paths
    assert (decision.count, decision.cause) == (len(paths), cause)


@pytest.mark.parametrize(
    ("now", "path", "cause"),
    [
        (
            llm_call(instructions="Be long."),
            "surroundings.instructions",
            "the agent's instructions changed",
        ),
        (llm_call(tools=[_TOOL]), "surroundings.tools", "the agent's tools changed"),
        (llm_call(model="model-2"), "surroundings.model", MODEL),
    ],
)
def test_drift_names_where_and_why(now: EffectCommand, path: str, cause: str) -> None:
    before = recorded(Digester().digest(llm_call()))

    assert decide(before, Digester().digest(now)) == Replay(outcome='"kept"', drift=(path,))
    assert decide(before, Digester().digest(now), "refuse") == DriftRefused(
        paths=(path,), cause=cause
    )


def test_a_report_names_a_few_paths_and_counts_the_rest() -> None:
    before = attempt({f"k{number:02}": 1 for number in range(30)})
    now = attempt({f"k{number:02}": 2 for number in range(30)})

    decision = compare(before, now)

    assert isinstance(decision, Mismatch)
    assert decision.count == 30
    assert decision.paths == tuple(f"identity.args.k{number:02}" for number in range(8))
    assert MAX_REPORTED_PATHS == 8
    error = replay_error(decision, "e1", "tool_attempt")
    assert "identity.args.k00" in error.message
    assert "and 22 more" in error.message


def test_a_mismatch_is_terminal_and_says_what_to_do() -> None:
    decision = Mismatch(paths=("identity.args.order",), count=1, cause="other arguments")

    error = replay_error(decision, "s:t1:e1", "tool_attempt")

    assert (error.code, error.terminal) == ("effect_replay_mismatch", True)
    assert error.details == {
        "paths": ("identity.args.order",),
        "count": 1,
        "replay_key": "s:t1:e1",
    }
    for part in ("s:t1:e1", "identity.args.order", "other arguments", "the code that recorded it"):
        assert part in error.message
    assert "more" not in error.message


def test_refused_drift_is_terminal_and_says_what_to_do() -> None:
    error = replay_error(DriftRefused(paths=("surroundings.model",), cause=MODEL), "e1", "llm_call")

    assert (error.code, error.terminal) == ("effect_drift_refused", True)
    for part in ("surroundings.model", MODEL, "on_drift='accept'"):
        assert part in error.message


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    before=st.dictionaries(st.sampled_from("abc"), _json),
    now=st.dictionaries(st.sampled_from("abc"), _json),
)
def test_arguments_that_differ_are_a_mismatch_and_equal_ones_are_replayed(
    before: dict[str, object], now: dict[str, object]
) -> None:
    decision = compare(attempt({"a": before}), attempt({"a": now}))  # type: ignore[dict-item]  # JSON by construction

    same = msgspec.json.encode(before, order="sorted") == msgspec.json.encode(now, order="sorted")
    assert isinstance(decision, Replay) == same
    if isinstance(decision, Mismatch):
        assert all(path.startswith("identity.args.a") for path in decision.paths)


# --- what needs no write of its own ------------------------------------------------------------------------

_MESSAGE = text_message("m1", "user", "hello")


@pytest.mark.parametrize(
    ("outcome", "deferred"),
    [
        (CheckpointOutcome(), True),
        (CheckpointOutcome(delivery=CheckpointDelivery(messages=(_MESSAGE,))), False),
        (CheckpointOutcome(delivery=CheckpointDelivery(transient_messages=(_MESSAGE,))), False),
        (SyncExecutionEnvironmentOutcome(), True),
        (
            SyncExecutionEnvironmentOutcome(
                environment=ExecutionEnvironment(instructions="Be brief.", tools=())
            ),
            True,
        ),
        (SleepOutcome(due_at_ms=1), False),
        (found(), False),
        (EffectFailed(code="x", message="y"), False),
    ],
)
def test_only_what_touched_nothing_outside_waits_for_the_next_write(
    outcome: EffectOutcome, deferred: bool
) -> None:
    assert is_deferred(outcome) is deferred


# --- the size limit ----------------------------------------------------------------------------------------


def test_an_outcome_at_the_limit_fits_and_one_byte_more_does_not() -> None:
    assert fit_outcome(b'"12345678"', 10) is None
    failure = fit_outcome(b'"123456789"', 10)
    assert failure is not None
    assert failure.code == "effect_outcome_too_large"
    assert "11 bytes, more than the 10" in failure.message
    assert MAX_OUTCOME_BYTES == 16_777_216


def test_the_failure_names_the_part_that_is_too_large() -> None:
    rows = [{"id": 1, "body": "x"}, {"id": 2, "body": "y" * 400}, {"id": 3, "body": "z"}]
    failure = fit_outcome(encode(found({"rows": rows, "total": 3})), 300)

    assert failure is not None
    assert "at $.output.outcome.payload.rows[1].body (402 bytes)" in failure.message
    assert "return a reference" in failure.message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", ("$", 6)),
        ({}, ("$", 2)),
        ({"a": "x" * 50, "b": 1}, ("$.a", 52)),
        # No part holds half of it: the whole is named.
        (["x" * 50, "x" * 50, "x" * 50], ("$", 160)),
        ({"a": [["x" * 50]]}, ("$.a[0][0]", 52)),
    ],
)
def test_the_largest_part_is_the_deepest_that_holds_most(
    value: object, expected: tuple[str, int]
) -> None:
    assert largest_part(value) == expected  # type: ignore[arg-type]  # JSON by construction
