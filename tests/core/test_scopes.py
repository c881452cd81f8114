"""Execution scopes: their wire form, their validation and the journal keys made of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.errors import LashError
from lash.core.scopes import (
    ExecutionScope,
    ProcessScope,
    QueueDrainScope,
    RuntimeOperationScope,
    SessionDeleteScope,
    TurnScope,
    from_journal_key,
    journal_key,
    scope_from_wire,
    scope_id,
    scope_session_id,
    scope_to_wire,
    validate_scope,
)

TURN = TurnScope(session_id="s", turn_id="t")
PROCESS = ProcessScope(process_id="p")
DRAIN = QueueDrainScope(session_id="s", drain_id="d")
DELETE = SessionDeleteScope(session_id="s")
OPERATION = RuntimeOperationScope(operation_id="o")

# Quotes, separators and the words of the format itself are what could confuse an encoding of ids.
ids = st.text(min_size=1, max_size=12).filter(str.strip) | st.sampled_from(
    ['"', "\\", ":", '","kind":"process', "turn", "a:b", " a ", "a\u2028", "null", "{}"]
)
scopes: st.SearchStrategy[ExecutionScope] = st.one_of(
    st.builds(TurnScope, session_id=ids, turn_id=ids),
    st.builds(ProcessScope, process_id=ids),
    st.builds(QueueDrainScope, session_id=ids, drain_id=ids),
    st.builds(SessionDeleteScope, session_id=ids),
    st.builds(RuntimeOperationScope, operation_id=ids),
)


@pytest.mark.parametrize(
    ("scope", "wire"),
    [
        (TURN, b'{"session_id":"s","turn_id":"t","type":"turn"}'),
        (PROCESS, b'{"process_id":"p","type":"process"}'),
        (DRAIN, b'{"drain_id":"d","session_id":"s","type":"queue_drain"}'),
        (DELETE, b'{"session_id":"s","type":"session_delete"}'),
        (OPERATION, b'{"operation_id":"o","type":"runtime_operation"}'),
    ],
)
def test_the_wire_form_is_exactly_this_json(scope: ExecutionScope, wire: bytes) -> None:
    assert scope_to_wire(scope) == wire
    assert scope_from_wire(wire) == scope


@pytest.mark.parametrize(
    ("scope", "key"),
    [
        (TURN, '{"version":2,"kind":"turn","session_id":"s","execution_id":"t"}'),
        (PROCESS, '{"version":2,"kind":"process","execution_id":"p"}'),
        (DRAIN, '{"version":2,"kind":"drain","session_id":"s","execution_id":"d"}'),
        (DELETE, '{"version":2,"kind":"delete","session_id":"s"}'),
        (OPERATION, '{"version":2,"kind":"op","execution_id":"o"}'),
    ],
)
def test_the_journal_key_is_exactly_this_text(scope: ExecutionScope, key: str) -> None:
    assert journal_key(scope) == key
    assert from_journal_key(key) == scope


@pytest.mark.parametrize(
    ("scope", "own", "session"),
    [
        (TURN, "t", "s"),
        (PROCESS, "p", None),
        (DRAIN, "d", "s"),
        (DELETE, "s", "s"),
        (OPERATION, "o", None),
    ],
)
def test_a_scope_knows_its_own_id_and_its_session(
    scope: ExecutionScope, own: str, session: str | None
) -> None:
    assert scope_id(scope) == own
    assert scope_session_id(scope) == session


@given(scopes)
def test_a_journal_key_gives_its_scope_back(scope: ExecutionScope) -> None:
    assert from_journal_key(journal_key(scope)) == scope


@given(scopes)
def test_the_wire_form_gives_its_scope_back(scope: ExecutionScope) -> None:
    assert scope_from_wire(scope_to_wire(scope)) == scope


@given(st.lists(scopes, max_size=20))
def test_no_two_scopes_share_a_journal_key(many: list[ExecutionScope]) -> None:
    keys = {journal_key(scope) for scope in many}
    assert len(keys) == len(set(many))


def test_scopes_that_display_the_same_id_have_keys_of_their_own() -> None:
    alike: list[ExecutionScope] = [
        TurnScope(session_id="a", turn_id="x"),
        TurnScope(session_id="b", turn_id="x"),
        QueueDrainScope(session_id="a", drain_id="x"),
        SessionDeleteScope(session_id="x"),
        ProcessScope(process_id="x"),
        RuntimeOperationScope(operation_id="x"),
    ]
    assert {scope_id(scope) for scope in alike} == {"x"}
    assert len({journal_key(scope) for scope in alike}) == 6


@pytest.mark.parametrize(
    "key",
    [
        "",
        "not json",
        "[]",
        '"turn"',
        '{"version":1,"kind":"turn","session_id":"s","execution_id":"t"}',
        '{"version":3,"kind":"turn","session_id":"s","execution_id":"t"}',
        '{"version":"2","kind":"turn","session_id":"s","execution_id":"t"}',
        '{"kind":"turn","session_id":"s","execution_id":"t"}',
        '{"version":2,"kind":"queue_drain","session_id":"s","execution_id":"t"}',
        '{"version":2,"kind":"TURN","session_id":"s","execution_id":"t"}',
        '{"version":2,"kind":"turn","execution_id":"t"}',
        '{"version":2,"kind":"turn","session_id":"s"}',
        '{"version":2,"kind":"delete","session_id":"s","execution_id":"t"}',
        '{"version":2,"kind":"process","session_id":"s","execution_id":"p"}',
        '{"version":2,"kind":"op","session_id":"s","execution_id":"o"}',
        '{"version":2,"kind":"process"}',
        '{"version":2,"kind":"turn","session_id":"s","execution_id":"t","more":1}',
        '{"version":2,"kind":"turn","session_id":" ","execution_id":"t"}',
        '{"version":2,"kind":"turn","session_id":"s","execution_id":""}',
        '{"version":2,"kind":"process","execution_id":7}',
        '{"version":2,"kind":"process","execution_id":"\ud800"}',
    ],
)
def test_a_foreign_or_invalid_journal_key_names_no_scope(key: str) -> None:
    assert from_journal_key(key) is None


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u00a0"])
@pytest.mark.parametrize(
    ("kind", "field", "scope"),
    [
        ("turn", "session_id", lambda text: TurnScope(session_id=text, turn_id="t")),
        ("turn", "turn_id", lambda text: TurnScope(session_id="s", turn_id=text)),
        ("process", "process_id", lambda text: ProcessScope(process_id=text)),
        ("queue_drain", "session_id", lambda text: QueueDrainScope(session_id=text, drain_id="d")),
        ("queue_drain", "drain_id", lambda text: QueueDrainScope(session_id="s", drain_id=text)),
        ("session_delete", "session_id", lambda text: SessionDeleteScope(session_id=text)),
        (
            "runtime_operation",
            "operation_id",
            lambda text: RuntimeOperationScope(operation_id=text),
        ),
    ],
)
def test_a_blank_id_is_refused_by_name(kind: str, field: str, scope: object, blank: str) -> None:
    assert callable(scope)
    with pytest.raises(LashError) as caught:
        validate_scope(scope(blank))
    assert caught.value.code == "missing_execution_scope_id"
    assert caught.value.details == {"field": field, "scope": kind}


def test_ids_are_checked_but_never_trimmed() -> None:
    scope = TurnScope(session_id=" s ", turn_id="t\n")
    validate_scope(scope)
    assert json.loads(journal_key(scope)) == {
        "version": 2,
        "kind": "turn",
        "session_id": " s ",
        "execution_id": "t\n",
    }


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"", "value_not_json"),
        (b'{"type":"turn","session_id":"s"}', "value_not_json"),
        (b'{"type":"galaxy","id":"s"}', "value_not_json"),
        (b'{"session_id":"s","turn_id":"t"}', "value_not_json"),
        (b'{"type":"turn","session_id":"s","turn_id":" "}', "missing_execution_scope_id"),
    ],
)
def test_what_is_not_a_scope_is_refused_on_the_wire(wire: bytes, code: str) -> None:
    with pytest.raises(LashError) as caught:
        scope_from_wire(wire)
    assert caught.value.code == code
