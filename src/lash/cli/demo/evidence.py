"""What the demo must prove, as a pure function: the journal held against the ledger.

1. The turn is finished.
2. An effect that the first process recorded was executed once, and not by the second process.
3. An effect that the second process recorded was executed once there. The first process may have
   executed it too: it died before the outcome was recorded, and then nothing but running it again is
   left. That is told, not counted as a failure.
4. Nothing is recorded twice, recorded without having run, or run without ever being recorded.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from lash.cli.demo.ledger import Execution
from lash.core.errors import StoreError
from lash.core.json import Data
from lash.effects.journal import JournalRecord
from lash.effects.outcomes import EffectOutcome, LlmCallOutcome

#: The first lease on a session in a new file; whoever takes over after a crash gets a greater one.
FIRST_TOKEN = 1

_ATTEMPT_MARK = ":child:"


class RecordedEffect(Data):
    """A journal row of something that touches the outside: a model call or a tool attempt."""

    effect: str
    kind: str
    recorded_at_ms: int
    duration_ms: float
    fencing_token: int


class Verdict(Data):
    """What broke a promise, and what a reader should know besides."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]


def recorded_effects(rows: Sequence[JournalRecord]) -> list[RecordedEffect]:
    """The rows of model calls and tool attempts, named as the ledger names them."""
    return [
        RecordedEffect(
            effect=_name(row),
            kind=row.kind,
            recorded_at_ms=row.recorded_at_ms,
            duration_ms=row.duration_ms,
            fencing_token=row.fencing_token,
        )
        for row in rows
        if row.kind in ("llm_call", "tool_attempt")
    ]


def check(
    ran: Sequence[Execution],
    recorded: Sequence[RecordedEffect],
    *,
    first_pid: int,
    second_pid: int,
    finished: bool,
) -> Verdict:
    """Hold the journal against the ledger."""
    labels = {one.effect: one.label for one in ran}
    rows = Counter(item.effect for item in recorded)
    problems: list[str] = []
    notes: list[str] = []
    if finished:
        unknown = [label for effect, label in labels.items() if effect not in rows]
        problems.extend(f"{label} ran, but the journal does not know it." for label in unknown)
    else:
        problems.append("The turn was not finished.")
    for item in recorded:
        label = labels.get(item.effect, item.effect)
        pids = Counter(one.pid for one in ran if one.effect == item.effect)
        first, second = pids[first_pid], pids[second_pid]
        if rows[item.effect] > 1:
            problems.append(f"{label} is recorded {rows[item.effect]} times.")
        elif (problem := _problem(item, label, first, second)) is not None:
            problems.append(problem)
        elif first and second:
            notes.append(_ran_again(item, label))
    return Verdict(problems=tuple(dict.fromkeys(problems)), notes=tuple(notes))


def _problem(item: RecordedEffect, label: str, first: int, second: int) -> str | None:
    """What is wrong with an effect that ran so often in each process, if anything is."""
    if not first and not second:
        return f"{label} is recorded, but it never ran."
    by_first = item.fencing_token == FIRST_TOKEN
    if (first, second) == (1, 0) if by_first else second == 1 and first <= 1:
        return None
    recorder = "first" if by_first else "second"
    return (
        f"{label} was recorded by the {recorder} process, but ran {first + second} times "
        f"({first} + {second})."
    )


def _ran_again(item: RecordedEffect, label: str) -> str:
    note = (
        f"{label} ran again: the process died before its outcome was recorded, so nobody could know "
        "that it had run."
    )
    if item.kind == "tool_attempt":
        return f"{note} Both runs were given the same idempotency key."
    return note


def _name(row: JournalRecord) -> str:
    if row.kind == "tool_attempt":
        # …:child:{index}:{call id}:attempt:{number}
        return row.replay_key.partition(_ATTEMPT_MARK)[2].partition(":")[2]
    try:
        outcome: EffectOutcome = msgspec.json.decode(row.outcome, type=EffectOutcome)
    except msgspec.MsgspecError as error:
        raise StoreError(
            "store_corrupt", f"The journal of the demo is unreadable: {error}"
        ) from error
    return outcome.record.call_id if isinstance(outcome, LlmCallOutcome) else row.replay_key
