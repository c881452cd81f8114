"""What plugins remember is kept once for as long as it does not change, and found again for every turn."""

from lash.core.json import encode
from lash.sessions.model import AgentRef, SessionConfig, SessionHead, TurnRecord, TurnTiming
from lash.sessions.remembering import begun_anew, config_of, kept_with_turn, remembered_after
from lash.turn.outcome import FinalValue, Finished

LARGE = "x" * 10_000


def record_at(revision: int, config: SessionConfig) -> TurnRecord:
    """The record of the turn that made this revision."""
    return TurnRecord(
        session_id="s",
        turn_id=f"t{revision}",
        revision=revision,
        outcome=Finished(result=FinalValue()),
        usage={},  # type: ignore[arg-type]  # nothing here reads it
        text="",
        tool_calls=(),
        llm_calls=(),
        issues=(),
        timing=TurnTiming(accepted_at_ms=0, committed_at_ms=0, drive_ms=0),
        config=config,
    )


def played(
    config: SessionConfig, *told: dict[str, object] | None, revision: int = 0
) -> tuple[list[TurnRecord], SessionConfig]:
    """Turns after which plugins remember this, from a session that said `config`."""
    records = []
    for each in told:
        head = SessionHead(
            session_id="s",
            agent=AgentRef(name="a"),
            created_at_ms=0,
            revision=revision,
            config=config,
        )
        records.append(record_at(revision + 1, kept_with_turn(head)))
        config = remembered_after(config, each, revision)  # type: ignore[arg-type]  # JSON
        revision += 1
    return records, config


def states(records: list[TurnRecord]) -> list[object]:
    """What plugins remembered when each of the turns began."""
    return [dict(config_of(record, records).plugin_state) for record in records]


def test_each_turn_finds_what_was_remembered_when_it_began() -> None:
    records, config = played(
        SessionConfig(), {"a": 1}, None, {"a": 1, "b": 2}, {"a": 3, "b": 2}, None, None
    )
    assert states(records) == [
        {},
        {"a": 1},
        {"a": 1},
        {"a": 1, "b": 2},
        {"a": 3, "b": 2},
        {"a": 3, "b": 2},
    ]
    assert config.plugin_state == {"a": 3, "b": 2}


def test_what_does_not_change_is_kept_with_one_turn_whatever_others_remember() -> None:
    told = [{"large": LARGE, "count": number} for number in range(6)]
    records, _ = played(SessionConfig(), *told)
    kept = [len(encode(record.config)) for record in records]
    assert sum(size > len(LARGE) for size in kept) == 1
    assert max(kept[2:]) < 150
    assert states(records)[5] == {"large": LARGE, "count": 4}


def test_values_that_are_equal_to_python_and_not_the_same_json_are_a_change() -> None:
    records, _ = played(SessionConfig(), {"a": 1}, {"a": True}, {"a": 1.0}, None)
    assert [repr(each) for each in states(records)] == [
        "{}",
        "{'a': 1}",
        "{'a': True}",
        "{'a': 1.0}",
    ]


def test_a_session_of_before_this_was_counted_is_read_and_goes_on() -> None:
    # Every turn had all of it then.
    old = SessionConfig(plugin_state={"a": 1, "b": 2})
    before = [record_at(number, old) for number in (1, 2, 3)]
    after, _ = played(old, None, {"a": 5, "b": 2}, None, None, revision=3)
    assert states([*before, *after]) == [
        *[{"a": 1, "b": 2}] * 5,
        *[{"a": 5, "b": 2}] * 2,
    ]
    assert [dict(each.config.plugin_state) for each in after] == [
        {"a": 1, "b": 2},
        {},
        {"a": 5},
        {},
    ]


def test_a_fork_counts_its_own_revisions() -> None:
    _, config = played(SessionConfig(), None, None, {"a": 1}, None)
    records, _ = played(begun_anew(config), None, {"a": 2}, None)
    assert states(records) == [{"a": 1}, {"a": 1}, {"a": 2}]


def test_what_was_kept_with_a_turn_that_is_gone_is_left_out() -> None:
    records, _ = played(SessionConfig(), {"a": 1}, None, {"a": 1, "b": 2}, None)
    assert config_of(records[3], records[2:]).plugin_state == {"b": 2}
