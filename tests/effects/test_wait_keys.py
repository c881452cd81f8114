"""Keys of waits: derived the same everywhere, never alike for two waits, and not to be forged."""

import hashlib
import hmac
import struct

import msgspec
import pytest
from effect_strategies import names
from hypothesis import given, settings
from hypothesis import strategies as st

from lash.core.errors import LashError
from lash.core.scopes import (
    ExecutionScope,
    ProcessScope,
    QueueDrainScope,
    RuntimeOperationScope,
    SessionDeleteScope,
    TurnScope,
)
from lash.effects.waits.keys import is_genuine, key_from_text, mint
from lash.effects.waits.model import (
    AwaitEventKey,
    AwaitEventWaitIdentity,
    CustomWait,
    ProcessSignalWait,
    ToolCompletionWait,
    TurnCancelGateWait,
    TurnTerminalWait,
)

SECRET, OTHER_SECRET = b"s" * 32, b"t" * 32
TURN = TurnScope(session_id="session", turn_id="turn")
CALL = ToolCompletionWait(tool_call_id="call")

# --- the derivation, written again by hand -----------------------------------------------------------


def text(value: str) -> bytes:
    return struct.pack(">Q", len(value.encode())) + value.encode()


def frame(domain: str, *parts: bytes) -> bytes:
    return b"lash-stable-identity" + b"\x01" + b"\x03" + text(domain) + b"".join(parts)


SCOPES: list[tuple[ExecutionScope, bytes]] = [
    (TURN, b"\x01" + text("session") + text("turn")),
    (ProcessScope(process_id="p"), b"\x02" + text("p")),
    (QueueDrainScope(session_id="s", drain_id="d"), b"\x03" + text("s") + text("d")),
    (SessionDeleteScope(session_id="sé"), b"\x04" + text("sé")),
    (RuntimeOperationScope(operation_id="o"), b"\x05" + text("o")),
]
WAITS: list[tuple[AwaitEventWaitIdentity, bytes]] = [
    (CALL, b"\x01" + text("call")),
    (
        ProcessSignalWait(process_id="p", signal_name="n", ordinal=2),
        b"\x02" + text("p") + text("n") + struct.pack(">Q", 2),
    ),
    (TurnCancelGateWait(), b"\x03"),
    (TurnTerminalWait(), b"\x04"),
    (CustomWait(key="k"), b"\x05" + text("k")),
]


def test_a_key_id_is_compatibility_data() -> None:
    """Keys are held by others, in links and buttons; this very string must stay theirs."""
    key = mint(SECRET, TURN, CALL)
    assert key.key_id == (
        "await-event:v3:sha256:72946661623a736ad7dddfeace2182eb51d5e25f18d4aef189f79eac48bbcfeb"
    )
    assert key.signature == "497b4994fbb1a370b3b32588042b47a4ee084dabc1769fd84a30c50a04826962"
    assert (key.scope, key.wait) == (TURN, CALL)
    assert key.promise_key == f"lash-await-event:{key.key_id}"


@pytest.mark.parametrize(("scope", "scope_bytes"), SCOPES)
@pytest.mark.parametrize(("wait", "wait_bytes"), WAITS)
def test_a_key_is_the_hash_of_its_scope_and_wait_and_signed_with_the_secret(
    scope: ExecutionScope, scope_bytes: bytes, wait: AwaitEventWaitIdentity, wait_bytes: bytes
) -> None:
    preimage = frame("lash.await-event", scope_bytes, wait_bytes)
    key_id = f"await-event:v3:sha256:{hashlib.sha256(preimage).hexdigest()}"
    signed = frame(
        "lash.await-event-auth", struct.pack(">Q", len(preimage)) + preimage, text(key_id)
    )

    key = mint(SECRET, scope, wait)

    assert key.key_id == key_id
    assert key.signature == hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
    assert is_genuine(SECRET, key)
    assert mint(SECRET, scope, wait) == key


def test_minting_refuses_what_names_nothing() -> None:
    with pytest.raises(LashError) as refused:
        mint(SECRET, ProcessScope(process_id=" "), CALL)
    assert refused.value.code == "missing_execution_scope_id"
    with pytest.raises(LashError) as refused:
        mint(SECRET, TURN, CustomWait(key=""))
    assert refused.value.code == "invalid_await_event_wait_identity"


# --- forgery ------------------------------------------------------------------------------------------

KEY = mint(SECRET, TURN, CALL)


def changed(**fields: object) -> AwaitEventKey:
    return msgspec.structs.replace(KEY, **fields)


@pytest.mark.parametrize(
    "forged",
    [
        changed(signature=""),
        changed(signature=KEY.signature[:-1]),
        changed(signature=KEY.signature + "0"),
        changed(signature=KEY.signature.upper()),
        changed(signature="0" * 64),
        changed(signature="é" * 64),
        changed(signature="\ud800"),
        changed(key_id=""),
        changed(key_id=KEY.key_id[:-1]),
        changed(key_id=KEY.key_id.replace("v3", "v2")),
        changed(key_id="\ud800"),
        changed(scope=TurnScope(session_id="session", turn_id="other")),
        changed(scope=TurnScope(session_id="other", turn_id="turn")),
        changed(scope=QueueDrainScope(session_id="session", drain_id="turn")),
        changed(scope=ProcessScope(process_id="turn")),
        changed(scope=ProcessScope(process_id="")),
        changed(scope=ProcessScope(process_id="\ud800")),
        changed(wait=ToolCompletionWait(tool_call_id="other")),
        changed(wait=CustomWait(key="call")),
        changed(wait=TurnCancelGateWait()),
        changed(wait=ProcessSignalWait(process_id="p", signal_name="n", ordinal=0)),
        changed(wait=ProcessSignalWait(process_id="p", signal_name="n", ordinal=-1)),
        changed(wait=ProcessSignalWait(process_id="p", signal_name="n", ordinal=2**64 - 1)),
        # A whole other wait's id or signature under this one's name.
        changed(key_id=mint(SECRET, TURN, CustomWait(key="k")).key_id),
        changed(signature=mint(SECRET, TURN, CustomWait(key="k")).signature),
    ],
)
def test_a_key_that_was_tampered_with_is_not_genuine(forged: AwaitEventKey) -> None:
    assert not is_genuine(SECRET, forged)


@pytest.mark.parametrize("ordinal", [2**64, 2**70])
def test_an_ordinal_that_cannot_be_is_a_forgery_like_any_other(ordinal: int) -> None:
    wait = ProcessSignalWait(process_id="p", signal_name="n", ordinal=ordinal)
    assert not is_genuine(SECRET, changed(wait=wait))


def test_every_single_character_of_a_signature_counts() -> None:
    for place, digit in enumerate(KEY.signature):
        other = "0" if digit != "0" else "1"
        forged = changed(signature=KEY.signature[:place] + other + KEY.signature[place + 1 :])
        assert not is_genuine(SECRET, forged)


def test_another_stores_key_is_not_genuine_here() -> None:
    elsewhere = mint(OTHER_SECRET, TURN, CALL)
    assert elsewhere.key_id == KEY.key_id
    assert elsewhere.signature != KEY.signature
    assert is_genuine(OTHER_SECRET, elsewhere)
    assert not is_genuine(SECRET, elsewhere)
    assert not is_genuine(OTHER_SECRET, KEY)


# --- text ---------------------------------------------------------------------------------------------

_scopes = st.one_of(
    st.builds(TurnScope, session_id=names, turn_id=names),
    st.builds(ProcessScope, process_id=names),
    st.builds(QueueDrainScope, session_id=names, drain_id=names),
    st.builds(SessionDeleteScope, session_id=names),
    st.builds(RuntimeOperationScope, operation_id=names),
)
_waits = st.one_of(
    st.builds(ToolCompletionWait, tool_call_id=names),
    st.builds(
        ProcessSignalWait,
        process_id=names,
        signal_name=names,
        ordinal=st.integers(1, 3) | st.integers(1, 2**64 - 1),
    ),
    st.builds(CustomWait, key=names),
    st.just(TurnCancelGateWait()),
    st.just(TurnTerminalWait()),
)


@settings(deadline=None)
@given(_scopes, _waits)
def test_a_key_comes_back_from_its_token_and_its_json(
    scope: ExecutionScope, wait: AwaitEventWaitIdentity
) -> None:
    key = mint(SECRET, scope, wait)
    token, json = key.token, msgspec.json.encode(key).decode()

    assert key_from_text(token) == key_from_text(json) == key
    assert key_from_text(f" {token}\n") == key_from_text(f"\t{json} ") == key
    assert token.startswith("lash-key-")
    assert set(token) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        " ",
        "{}",
        "[]",
        "null",
        "7",
        "key",
        "lash-key-",
        "lash-key-!",
        "lash-key-A",
        "lash-key-é",
        "lash-key-e30",
        "\ud800",
        "\x00",
        '{"key_id":"i"}',
        '{"key_id":"i","scope":{"type":"turn"},"signature":"s","wait":{"type":"turn_terminal"}}',
        (
            '{"key_id":1,"scope":{"type":"process","process_id":"p"},"signature":"s",'
            '"wait":{"type":"turn_terminal"}}'
        ),
        "[" * 100_000,
    ],
    ids=lambda garbage: ascii(garbage)[:30],
)
def test_text_that_is_no_key_is_none(garbage: str) -> None:
    assert key_from_text(garbage) is None


def test_text_that_is_nested_beyond_reason_is_none() -> None:
    assert key_from_text('{"x":' + "[" * 100_000) is None


@settings(deadline=None)
@given(st.text())
def test_no_text_makes_reading_it_fail(garbage: str) -> None:
    key_from_text(garbage)
    key_from_text("lash-key-" + garbage)


@settings(deadline=None)
@given(st.data())
def test_a_token_that_was_cut_or_changed_is_never_genuine(data: st.DataObject) -> None:
    token = KEY.token
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("AQgw-_9z"))
    for forged in (token[:place], token[:place] + letter + token[place + 1 :]):
        read = key_from_text(forged)
        assert read is None or read == KEY or not is_genuine(SECRET, read)


# --- no two waits share a key -------------------------------------------------------------------------

_pairs = st.tuples(_scopes, _waits)


@settings(max_examples=500, deadline=None)
@given(_pairs, _pairs)
def test_two_waits_never_share_a_key_id(
    one: tuple[ExecutionScope, AwaitEventWaitIdentity],
    other: tuple[ExecutionScope, AwaitEventWaitIdentity],
) -> None:
    same = mint(SECRET, *one).key_id == mint(SECRET, *other).key_id
    assert same == (one == other)


@settings(deadline=None)
@given(_pairs, st.lists(names, min_size=2, max_size=2, unique=True))
def test_names_that_run_together_elsewhere_do_not_here(
    pair: tuple[ExecutionScope, AwaitEventWaitIdentity], two: list[str]
) -> None:
    _, wait = pair
    left, right = two
    split: list[ExecutionScope] = [
        TurnScope(session_id=left + right, turn_id="x"),
        TurnScope(session_id=left, turn_id=right + "x"),
        QueueDrainScope(session_id=left, drain_id=right + "x"),
        ProcessScope(process_id=left + right + "x"),
        RuntimeOperationScope(operation_id=left + right + "x"),
        SessionDeleteScope(session_id=left + right + "x"),
    ]
    assert len({mint(SECRET, scope, wait).key_id for scope in split}) == 6
