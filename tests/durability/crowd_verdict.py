"""Whether a database and a ledger that a crowd of processes left agree with what was promised them."""

import asyncio
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from crowd_worker import Work, agents
from process_ledger import Ledger

import lash
from lash.sessions.model import messages_of
from lash.turn.messages import is_valid_transcript

KEY = re.compile(r"<(k\d+)>")
HELD = "SELECT session_id FROM leases WHERE owner_id IS NOT NULL"
NONCE = re.compile(r"\bn\d+-\d+-\d+\b")


def verdict(
    folder: Path, work: Sequence[Work], *, stalls: bool
) -> tuple[Sequence[str], Mapping[str, int]]:
    """What is wrong, in words; and how much there was of what.

    With `stalls`, an owner that lost its lease while it was stopped may begin something once more before
    it notices; what comes of that must not be kept.
    """
    abandoned = len(_held(folder))
    wrong = asyncio.run(_through_the_face(folder))
    ledger = Ledger(folder / "ledger").lines()
    with closing(sqlite3.connect(folder / "agents.db")) as database:
        wrong += _left_over(database)
        wrong += _inputs(database, work, ledger)
        wrong += _stops(database, ledger)
        wrong += _effects(database, ledger, stalls=stalls)
        counts = _counts(database, ledger)
    return wrong, {**counts, "abandoned_leases": abandoned}


def _held(folder: Path) -> Sequence[str]:
    with closing(sqlite3.connect(folder / "agents.db")) as database:
        return [session for (session,) in database.execute(HELD)]


async def _through_the_face(folder: Path) -> list[str]:
    """A fresh process finishes what is left, finds nothing, and can go on with every session."""
    wrong: list[str] = []
    everybody = agents(Ledger(folder / "ledger"))
    async with lash.Runtime(folder / "agents.db", agents=everybody) as runtime:
        await runtime.idle(timeout=60)
        for session in _held(folder):
            # Its owner died when there was nothing left to do in it. It must be in nobody's way.
            try:
                await asyncio.wait_for(runtime.session(session, agent="first").run("Go on."), 10)
            except (lash.LashError, TimeoutError) as error:
                wrong.append(
                    f"a lease on {session} outlived its owner, and is in the way: {error!r}"
                )
        wrong += [f"check: {finding}" for finding in await runtime.check()]
        for summary in await runtime.sessions():
            if summary.state != "idle":
                wrong.append(f"session {summary.session_id} is {summary.state}")
            path = await runtime.engine.store.load_path(summary.session_id, whole=True)
            if not is_valid_transcript(messages_of(path)):
                wrong.append(f"the history of {summary.session_id} is not well-formed")
    return wrong


def _left_over(database: sqlite3.Connection) -> Iterator[str]:
    """No lease outlives its owner, and nothing accepted is left."""
    for (session,) in database.execute(HELD):
        yield f"a lease on {session} outlived its owner"
    for row in database.execute(
        "SELECT session_id, turn_id FROM inputs WHERE NOT committed AND superseded_by IS NULL"
    ):
        yield f"turn {row} was accepted and never committed"
    for row in database.execute(
        "SELECT session_id, source_key, state FROM queue "
        "WHERE state NOT IN ('completed', 'cancelled')"
    ):
        yield f"input {row} was never settled"


def _inputs(
    database: sqlite3.Connection, work: Sequence[Work], ledger: Sequence[Sequence[str]]
) -> Iterator[str]:
    """Every input is in exactly one committed turn, unless it was taken back, and then in none."""
    turns = set(database.execute("SELECT session_id, turn_id FROM turns"))
    said: Counter[str] = Counter()
    for session, turn, message in database.execute(
        "SELECT session_id, turn_id, message FROM nodes WHERE kind = 'message'"
    ):
        keys = KEY.findall(message)
        said.update(keys)
        if keys and (session, turn) not in turns:
            yield f"{keys} are part of turn {turn} of {session}, which was not committed"
    taken_back = {line[1] for line in ledger if line[0] == "back" and line[2] == "cancelled"}
    gone = "SELECT source_key FROM queue WHERE state = 'cancelled'"
    cancelled = {key for (key,) in database.execute(gone)}
    if not taken_back <= cancelled:
        yield f"{taken_back - cancelled} were said to be taken back and were not"
    for each in work:
        if each.is_input and said[each.key] != (each.key not in cancelled):
            yield f"input {each.key} ({each.kind}) of {each.session} was said {said[each.key]} times"


def _stops(database: sqlite3.Connection, ledger: Sequence[Sequence[str]]) -> Iterator[str]:
    """What somebody who asked a turn to stop was told is what happened."""
    shown: dict[str, str | None] = dict(
        database.execute(
            "SELECT turn_id, json_extract(record, '$.cancellation.request_id') FROM turns"
        )
    )
    for line in ledger:
        if line[0] == "stop" and line[3] in {"requested", "already_requested"}:
            _, turn, request, how = line
            if shown.get(turn) != request:
                yield f"turn {turn}: {how} by {request}, but it shows {shown.get(turn)}"
    for (record,) in database.execute(
        'SELECT turn_id FROM turns WHERE record LIKE \'%"type":"cancelled"%\' '
        "AND json_extract(record, '$.cancellation.request_id') IS NULL"
    ):
        yield f"turn {record} was cancelled by nobody"


def _effects(
    database: sqlite3.Connection, ledger: Sequence[Sequence[str]], *, stalls: bool
) -> Iterator[str]:
    """What is in the history is what was answered last: nothing was done again once it was recorded."""
    last: dict[str, str] = {}
    made_by: dict[str, str] = {}
    for line in ledger:
        if line[0] == "begin":
            last[line[1]] = line[2]
            made_by[line[2]] = line[1]
    for (message,) in database.execute("SELECT message FROM nodes WHERE kind = 'message'"):
        for nonce in NONCE.findall(message):
            key = made_by.get(nonce)
            if key is None:
                yield f"{nonce} is in the history, and nobody made it"
            elif last[key] != nonce and not stalls:
                yield f"{key} was recorded as {nonce} and done again as {last[key]}"
    for row in database.execute(
        "SELECT scope, replay_key, count(*) FROM journal GROUP BY 1, 2 HAVING count(*) > 1"
    ):
        yield f"effect {row} is recorded more than once"


def _counts(database: sqlite3.Connection, ledger: Sequence[Sequence[str]]) -> Mapping[str, int]:
    (turns,) = database.execute("SELECT count(*) FROM turns").fetchone()
    (stopped,) = database.execute(
        "SELECT count(*) FROM turns WHERE json_extract(record, '$.cancellation') IS NOT NULL"
    ).fetchone()
    (sessions,) = database.execute("SELECT count(*) FROM sessions").fetchone()
    begun = [line[1] for line in ledger if line[0] == "begin"]
    back = sum(line[0] == "back" and line[2] == "cancelled" for line in ledger)
    return {
        "turns": turns,
        "sessions": sessions,
        "stopped": stopped,
        "taken_back": back,
        "begun": len(begun),
        "begun_again": len(begun) - len(set(begun)),
    }
