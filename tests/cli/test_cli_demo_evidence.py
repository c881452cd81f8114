"""The demo's verdict, on hand-made journals and ledgers."""

import msgspec
import pytest

from lash.cli.demo.evidence import RecordedEffect, Verdict, check, recorded_effects
from lash.cli.demo.ledger import Execution, LedgerLine, executions
from lash.effects.journal import JournalRecord

FIRST, SECOND = 100, 200


def ran(label: str, pid: int) -> Execution:
    return Execution(effect=f"effect-{label}", label=label, pid=pid, started_at_ms=1, ended_at_ms=2)


def recorded(label: str, token: int, kind: str = "tool_attempt") -> RecordedEffect:
    return RecordedEffect(
        effect=f"effect-{label}", kind=kind, recorded_at_ms=3, duration_ms=1.0, fencing_token=token
    )


def judge(
    executions: list[Execution], journal: list[RecordedEffect], *, finished: bool = True
) -> Verdict:
    return check(executions, journal, first_pid=FIRST, second_pid=SECOND, finished=finished)


def test_everything_once_is_in_order() -> None:
    verdict = judge([ran("a", FIRST), ran("b", SECOND)], [recorded("a", 1), recorded("b", 2)])
    assert verdict == Verdict(problems=(), notes=())


def test_what_was_not_recorded_may_run_again_and_that_is_told() -> None:
    verdict = judge([ran("pay", FIRST), ran("pay", SECOND)], [recorded("pay", 2)])
    assert verdict.problems == ()
    (note,) = verdict.notes
    assert note.startswith("pay ran again")
    assert "same idempotency key" in note


def test_a_model_call_that_ran_again_has_no_idempotency_key() -> None:
    twice = [ran("m", FIRST), ran("m", SECOND)]
    (note,) = judge(twice, [recorded("m", 2, kind="llm_call")]).notes
    assert "idempotency" not in note


@pytest.mark.parametrize(
    ("executions", "journal", "problem"),
    [
        (
            [ran("a", FIRST), ran("a", SECOND)],
            [recorded("a", 1)],
            "a was recorded by the first process, but ran 2 times (1 + 1).",
        ),
        (
            [ran("a", FIRST), ran("a", FIRST)],
            [recorded("a", 1)],
            "a was recorded by the first process, but ran 2 times (2 + 0).",
        ),
        (
            [ran("a", SECOND), ran("a", SECOND)],
            [recorded("a", 2)],
            "a was recorded by the second process, but ran 2 times (0 + 2).",
        ),
        (
            [ran("a", FIRST), ran("a", FIRST), ran("a", SECOND)],
            [recorded("a", 2)],
            "a was recorded by the second process, but ran 3 times (2 + 1).",
        ),
        ([ran("a", FIRST)], [recorded("a", 1), recorded("a", 2)], "a is recorded 2 times."),
        ([], [recorded("a", 1)], "effect-a is recorded, but it never ran."),
        ([ran("a", SECOND)], [], "a ran, but the journal does not know it."),
    ],
)
def test_a_broken_promise_is_a_problem(
    executions: list[Execution], journal: list[RecordedEffect], problem: str
) -> None:
    assert judge(executions, journal).problems == (problem,)


def test_an_unfinished_turn_is_a_problem_and_what_it_left_unrecorded_is_none() -> None:
    verdict = judge([ran("a", FIRST)], [], finished=False)
    assert verdict.problems == ("The turn was not finished.",)


def test_the_ledger_pairs_beginnings_with_ends_of_the_same_process() -> None:
    def line(phase: str, effect: str, pid: int, at_ms: int) -> LedgerLine:
        fields = {"phase": phase, "effect": effect, "label": effect, "pid": pid, "at_ms": at_ms}
        return msgspec.convert(fields, LedgerLine)

    lines = [
        line("started", "a", FIRST, 1),
        line("started", "b", FIRST, 2),
        line("ended", "b", FIRST, 3),
        line("started", "a", SECOND, 4),
        line("ended", "a", SECOND, 5),
    ]
    told = [(one.effect, one.pid, one.started_at_ms, one.ended_at_ms) for one in executions(lines)]
    assert told == [("a", FIRST, 1, None), ("b", FIRST, 2, 3), ("a", SECOND, 4, 5)]


def test_journal_rows_are_named_as_the_ledger_names_them() -> None:
    def row(kind: str, replay_key: str, outcome: str) -> JournalRecord:
        return JournalRecord(
            replay_key=replay_key,
            kind=kind,
            identity="",
            surroundings="",
            envelope="{}",
            outcome=outcome,
            fencing_token=1,
        )

    answered = (
        '{"type":"llm_call","record":{"call_id":"s:turn:t:llm:0","model":"m","attempts":[]},'
        '"response":{"parts":[],"usage":{},"terminal_reason":"stop"}}'
    )
    rows = [
        row("sync_execution_environment", "s:t:1:0:sync_execution_environment:1", "{}"),
        row("llm_call", "s:t:1:0:llm_call:2", answered),
        row("tool_attempt", "s:t:1:0:tool_batch:3:child:1:call_9:attempt:2", "{}"),
    ]
    named = [(item.kind, item.effect) for item in recorded_effects(rows)]
    assert named == [("llm_call", "s:turn:t:llm:0"), ("tool_attempt", "call_9:attempt:2")]
