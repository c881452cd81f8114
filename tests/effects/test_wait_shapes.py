"""What is waited for and how it ends, as it stands in links, rows and logs."""

import logging

import msgspec
import pytest
from effect_samples import KEY, KEY_WIRE
from rich.console import Console

from lash.core.errors import LashError
from lash.core.json import canonical
from lash.effects.outcomes import AwaitEventOutcome, PendingCompletion
from lash.effects.waits.model import (
    AlreadyResolved,
    AwaitEventKey,
    AwaitEventWaitIdentity,
    CustomWait,
    ExternalCompletionError,
    ProcessSignalWait,
    Resolution,
    ResolveAccepted,
    ResolvedCancelled,
    ResolvedErr,
    ResolvedOk,
    ResolvedTimeout,
    ResolveOutcome,
    ToolCompletionWait,
    TurnCancelGateWait,
    TurnTerminalWait,
    UnknownOrRevoked,
    is_turn_control,
    unknown_or_revoked,
    validate_wait,
)

_WAIT: msgspec.json.Decoder[AwaitEventWaitIdentity] = msgspec.json.Decoder(AwaitEventWaitIdentity)
_RESOLUTION: msgspec.json.Decoder[Resolution] = msgspec.json.Decoder(Resolution)
_ANSWER: msgspec.json.Decoder[ResolveOutcome] = msgspec.json.Decoder(ResolveOutcome)

# --- wire ---------------------------------------------------------------------------------------------

WAITS: list[tuple[AwaitEventWaitIdentity, str]] = [
    (ToolCompletionWait(tool_call_id="c"), '{"tool_call_id":"c","type":"tool_completion"}'),
    (
        ProcessSignalWait(process_id="p", signal_name="n", ordinal=1),
        '{"ordinal":1,"process_id":"p","signal_name":"n","type":"process_signal"}',
    ),
    (CustomWait(key="k"), '{"key":"k","type":"custom"}'),
    (TurnCancelGateWait(), '{"type":"turn_cancel_gate"}'),
    (TurnTerminalWait(), '{"type":"turn_terminal"}'),
]


@pytest.mark.parametrize(("wait", "wire"), WAITS)
def test_a_wait_has_exactly_this_wire_form(wait: AwaitEventWaitIdentity, wire: str) -> None:
    assert canonical(wait).decode() == wire
    assert _WAIT.decode(wire) == wait


def test_only_the_gate_and_the_end_of_a_turn_steer_it() -> None:
    assert [is_turn_control(wait) for wait, _ in WAITS] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("resolution", "wire"),
    [
        (ResolvedOk(payload={"by": "ana"}), '{"payload":{"by":"ana"},"status":"ok"}'),
        (ResolvedOk(), '{"status":"ok"}'),
        (
            ResolvedErr(payload=ExternalCompletionError(code="no", message="not today")),
            '{"payload":{"code":"no","message":"not today"},"status":"err"}',
        ),
        (
            ResolvedErr(payload=ExternalCompletionError(code="no", message="m", raw={"a": 1})),
            '{"payload":{"code":"no","message":"m","raw":{"a":1}},"status":"err"}',
        ),
        (ResolvedTimeout(), '{"status":"timeout"}'),
        (ResolvedCancelled(), '{"status":"cancelled"}'),
    ],
)
def test_a_resolution_has_exactly_this_wire_form(resolution: Resolution, wire: str) -> None:
    assert canonical(resolution).decode() == wire
    assert _RESOLUTION.decode(wire) == resolution
    already = f'{{"status":"already_resolved","terminal":{wire}}}'
    assert canonical(AlreadyResolved(terminal=resolution)).decode() == already
    assert _ANSWER.decode(already) == AlreadyResolved(terminal=resolution)


def test_the_other_answers_to_a_resolver_have_exactly_this_wire_form() -> None:
    assert canonical(ResolveAccepted()) == b'{"status":"accepted"}'
    assert canonical(UnknownOrRevoked()) == b'{"status":"unknown_or_revoked"}'
    assert _ANSWER.decode('{"status":"accepted"}') == ResolveAccepted()
    assert _ANSWER.decode('{"status":"unknown_or_revoked"}') == UnknownOrRevoked()


def test_a_key_has_exactly_this_wire_form() -> None:
    assert canonical(KEY).decode() == KEY_WIRE
    assert msgspec.json.decode(KEY_WIRE, type=AwaitEventKey) == KEY
    assert KEY.promise_key == "lash-await-event:id"


@pytest.mark.parametrize(
    ("wire", "decoder"),
    [
        ('{"type":"unheard"}', _WAIT),
        ('{"key":"k"}', _WAIT),
        ('{"key":7,"type":"custom"}', _WAIT),
        ('{"status":"maybe"}', _RESOLUTION),
        ('{"payload":1}', _RESOLUTION),
        ('{"status":"err"}', _RESOLUTION),
        ('{"payload":{"code":"no"},"status":"err"}', _RESOLUTION),
        ('{"status":"perhaps"}', _ANSWER),
        ('{"status":"already_resolved"}', _ANSWER),
    ],
)
def test_what_is_none_of_them_is_refused(
    wire: str, decoder: "msgspec.json.Decoder[object]"
) -> None:
    with pytest.raises(msgspec.ValidationError):
        decoder.decode(wire)


# --- names that must not be blank ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait", "field"),
    [
        (ToolCompletionWait(tool_call_id=""), "tool_call_id"),
        (ToolCompletionWait(tool_call_id=" \t\n"), "tool_call_id"),
        (ProcessSignalWait(process_id=" ", signal_name="n", ordinal=1), "process_id"),
        (ProcessSignalWait(process_id="p", signal_name="", ordinal=1), "signal_name"),
        (ProcessSignalWait(process_id="p", signal_name="n", ordinal=0), "ordinal"),
        (ProcessSignalWait(process_id="p", signal_name="n", ordinal=-1), "ordinal"),
        (CustomWait(key="\u2003"), "key"),
    ],
)
def test_a_wait_that_names_nothing_is_refused(wait: AwaitEventWaitIdentity, field: str) -> None:
    with pytest.raises(LashError) as refused:
        validate_wait(wait)

    assert (refused.value.code, refused.value.terminal) == (
        "invalid_await_event_wait_identity",
        True,
    )
    assert refused.value.details == {"field": field}


@pytest.mark.parametrize(
    "wait", [wait for wait, _ in WAITS] + [CustomWait(key=" k "), CustomWait(key="0")]
)
def test_a_wait_that_names_something_is_taken_as_it_is(wait: AwaitEventWaitIdentity) -> None:
    validate_wait(wait)


# --- secrets ------------------------------------------------------------------------------------------

SECRET_KEY = AwaitEventKey(
    scope=KEY.scope, wait=KEY.wait, key_id="await-event:v3:id", signature="53cr37"
)
PAID = ResolvedOk(payload={"card": "53cr37"})
REFUSED = ResolvedErr(
    payload=ExternalCompletionError(code="declined", message="53cr37", raw={"card": "53cr37"})
)
SECRETIVE = [
    SECRET_KEY,
    PendingCompletion(key=SECRET_KEY),
    PAID,
    REFUSED,
    AlreadyResolved(terminal=PAID),
    AwaitEventOutcome(resolution=PAID),
    [SECRET_KEY],
]


@pytest.mark.parametrize("value", SECRETIVE, ids=lambda value: type(value).__name__)
def test_no_text_of_a_secret_shows_it(value: object, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        logging.getLogger("lash.test").info("got %s and %r", value, value)

    shown = f"{value} {value!r} {caplog.text}"
    assert "53cr37" not in shown
    assert "hidden" in shown


def test_a_hidden_key_and_a_hidden_failure_still_say_which_they_are() -> None:
    assert repr(SECRET_KEY) == "AwaitEventKey('await-event:v3:id', signature=<hidden>)"
    assert repr(REFUSED) == "ResolvedErr(code='declined', payload=<hidden>)"


@pytest.mark.parametrize("value", SECRETIVE, ids=lambda value: type(value).__name__)
def test_no_console_shows_a_secret(value: object) -> None:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(value)

    assert "53cr37" not in capture.get()


def test_the_error_of_a_bad_key_tells_nothing_about_it() -> None:
    error = unknown_or_revoked()
    assert (error.code, error.retryable, error.details) == (
        "await_event_unknown_or_revoked",
        False,
        {},
    )
