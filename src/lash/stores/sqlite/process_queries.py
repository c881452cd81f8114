"""The SQL statements of processes, named and described. The logic is elsewhere."""

from lash.processes.listing import ProcessFilter
from lash.stores.sqlite.process_schema import ENDED, LIVE

_LEASE = """
    p.fencing_token, p.owner_id, p.incarnation, p.host, p.nonce, p.claimed_at_ms, p.expires_at_ms
"""
_COLUMNS = f"p.registration, p.fingerprint, p.created_at_ms, p.state, p.change_seq, {_LEASE}"
#: The last number that a change was given, and the last one that a process has: not a larger one.
_CLOCK = "(SELECT seq FROM process_clock), (SELECT max(change_seq) FROM processes)"

# --- one process --------------------------------------------------------------------------------------

PROCESS = f"SELECT {_COLUMNS} FROM processes p WHERE p.process_id = ?"  # noqa: S608  constants of ours
#: A process, and the clock; the clock comes also where there is no process.
FACTS = f"""
    SELECT {_CLOCK}, {_COLUMNS}
    FROM (SELECT 1) LEFT JOIN processes p ON p.process_id = ?
"""  # noqa: S608
#: What is known when a process is registered: besides, whether its environment is kept.
REGISTER_FACTS = f"""
    SELECT EXISTS (SELECT 1 FROM process_envs WHERE env_ref = ?), {_CLOCK}, {_COLUMNS}
    FROM (SELECT 1) LEFT JOIN processes p ON p.process_id = ?
"""  # noqa: S608
CLOCK = f"SELECT {_CLOCK}"
TICK = "UPDATE process_clock SET seq = ?"
ADD_PROCESS = """
    INSERT INTO processes (
        updated_at_ms, change_seq, state, fencing_token, owner_id, incarnation, host, nonce,
        claimed_at_ms, expires_at_ms, status, runnable_at_ms, parked, wake_session_id, process_id,
        fingerprint, created_at_ms, originator, parent_id, kind, label, definition, registration
    )
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
#: A process that changed. Columns that are named are rewritten in every index, whatever they hold; so
#: the usual change, after which it can be found as before, has a statement of its own.
CHANGE_PROCESS = """
    UPDATE processes SET
        updated_at_ms = ?, change_seq = ?, state = ?, fencing_token = ?, owner_id = ?, incarnation = ?,
        host = ?, nonce = ?, claimed_at_ms = ?, expires_at_ms = ?
    WHERE process_id = ?
"""
MOVE_PROCESS = """
    UPDATE processes SET
        updated_at_ms = ?, change_seq = ?, state = ?, fencing_token = ?, owner_id = ?, incarnation = ?,
        host = ?, nonce = ?, claimed_at_ms = ?, expires_at_ms = ?,
        status = ?, runnable_at_ms = ?, parked = ?, wake_session_id = ?
    WHERE process_id = ?
"""
PUT_LEASE = """
    UPDATE processes SET
        fencing_token = ?, owner_id = ?, incarnation = ?, host = ?, nonce = ?, claimed_at_ms = ?,
        expires_at_ms = ?, runnable_at_ms = ?
    WHERE process_id = ?
"""
LEASE = f"SELECT {_LEASE} FROM processes p WHERE p.process_id = ?"  # noqa: S608
#: Which of the leases in a JSON array of process, token and nonce are held.
HELD_AMONG = """
    SELECT p.process_id
    FROM json_each(?) j JOIN processes p ON p.process_id = json_extract(j.value, '$[0]')
    WHERE p.fencing_token = json_extract(j.value, '$[1]') AND p.nonce = json_extract(j.value, '$[2]')
"""
#: Never earlier than before: a clock set back must not cost the holder its lease.
RENEW = """
    UPDATE processes SET expires_at_ms = max(expires_at_ms, ?)
    WHERE process_id IN (SELECT value FROM json_each(?))
"""
TOMBSTONE = """
    SELECT process_id, status, pruned_at_ms, change_seq FROM process_tombstones WHERE process_id = ?
"""
ADD_ENV = "INSERT OR IGNORE INTO process_envs (env_ref, content) VALUES (?, ?)"
ENV = "SELECT content FROM process_envs WHERE env_ref = ?"

# --- events -------------------------------------------------------------------------------------------

_EVENT = """
    process_id, sequence, event_type, payload, occurred_at_ms, semantics, replay_key
"""
#: A row that is there already is a fault of the database; the row count tells.
ADD_EVENT = f"""
    INSERT INTO process_events ({_EVENT}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""  # noqa: S608
EVENT_BY_KEY = f"""
    SELECT {_EVENT} FROM process_events WHERE process_id = ? AND replay_key = ?
"""  # noqa: S608
EVENTS = f"""
    SELECT {_EVENT} FROM process_events WHERE process_id = ? AND sequence > ?
    ORDER BY sequence LIMIT ?
"""  # noqa: S608
EVENTS_OF_TYPE = f"""
    SELECT {_EVENT} FROM process_events INDEXED BY process_events_by_type
    WHERE process_id = ? AND sequence > ? AND event_type = ? ORDER BY sequence LIMIT ?
"""  # noqa: S608
RECENT_EVENTS = f"""
    SELECT {_EVENT} FROM process_events WHERE process_id = ? ORDER BY sequence DESC LIMIT ?
"""  # noqa: S608
COUNT_EVENTS = """
    SELECT count(*) FROM process_events INDEXED BY process_events_by_type
    WHERE process_id = ? AND event_type = ? AND sequence <= ?
"""

# --- observers ----------------------------------------------------------------------------------------

ADD_OBSERVER = "INSERT OR IGNORE INTO process_observers (session_id, process_id) VALUES (?, ?)"
REMOVE_OBSERVER = "DELETE FROM process_observers WHERE session_id = ? AND process_id = ?"
OBSERVERS = "SELECT session_id FROM process_observers WHERE process_id = ? ORDER BY session_id"
#: Which processes of a JSON array a session may see.
OBSERVED_AMONG = """
    SELECT process_id FROM process_observers
    WHERE session_id = ? AND process_id IN (SELECT value FROM json_each(?))
"""
FORGET_OBSERVER = "DELETE FROM process_observers WHERE session_id = ?"
OBSERVED = "SELECT process_id FROM process_observers WHERE session_id = ?"
#: The live ones of a JSON array of processes, and whether anybody may see them.
LIVE_AMONG = f"""
    SELECT p.process_id,
        EXISTS (SELECT 1 FROM process_observers o WHERE o.process_id = p.process_id)
    FROM processes p
    WHERE p.process_id IN (SELECT value FROM json_each(?)) AND p.{LIVE} ORDER BY p.process_id
"""  # noqa: S608

# --- wakes --------------------------------------------------------------------------------------------

_WAKE = """
    w.process_id, w.sequence, w.session_id, w.event_type, w.text, w.created_at_ms, w.state, w.attempts,
    w.next_attempt_at_ms, w.discard_reason
"""
ADD_WAKE = """
    INSERT OR IGNORE INTO process_wakes (
        process_id, sequence, session_id, event_type, text, created_at_ms, state, attempts,
        next_attempt_at_ms, discard_reason
    )
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
CHANGE_WAKE = """
    UPDATE process_wakes SET state = ?, attempts = ?, next_attempt_at_ms = ?, discard_reason = ?
    WHERE process_id = ? AND sequence = ?
"""
#: A wake that no earlier one of its process stands before in its session.
_IS_HEAD = """
    w.state = 'pending' AND NOT EXISTS (
        SELECT 1 FROM process_wakes e INDEXED BY process_wakes_pending
        WHERE e.process_id = w.process_id AND e.session_id = w.session_id AND e.state = 'pending'
            AND e.sequence < w.sequence
    )
"""
WAKES_DUE = f"""
    SELECT {_WAKE} FROM process_wakes w INDEXED BY process_wakes_due
    WHERE {_IS_HEAD} AND w.next_attempt_at_ms <= ?
    ORDER BY w.next_attempt_at_ms, w.created_at_ms, w.process_id, w.sequence LIMIT ?
"""  # noqa: S608
HAS_PENDING_WAKES = """
    SELECT EXISTS (SELECT 1 FROM process_wakes INDEXED BY process_wakes_due WHERE state = 'pending')
"""
NEXT_WAKE_AT = f"""
    SELECT w.next_attempt_at_ms FROM process_wakes w INDEXED BY process_wakes_due
    WHERE {_IS_HEAD} ORDER BY w.next_attempt_at_ms LIMIT 1
"""  # noqa: S608
WAKE = f"SELECT {_WAKE} FROM process_wakes w WHERE w.process_id = ? AND w.sequence = ?"  # noqa: S608
WAKES = f"SELECT {_WAKE} FROM process_wakes w WHERE w.process_id = ? ORDER BY w.sequence"  # noqa: S608
WAKES_IN_STATE = f"""
    SELECT {_WAKE} FROM process_wakes w WHERE w.process_id = ? AND w.state = ? ORDER BY w.sequence
"""  # noqa: S608
RETARGET_WAKES = """
    UPDATE process_wakes SET state = 'discarded', discard_reason = 'retargeted'
    WHERE process_id = ? AND state = 'pending'
"""
DISCARD_WAKES_OF_SESSION = """
    UPDATE process_wakes SET state = 'discarded', discard_reason = 'target_gone'
    WHERE session_id = ? AND state = 'pending'
"""
#: The processes that wake a session, by id.
WAKING = """
    SELECT process_id FROM processes INDEXED BY processes_waking
    WHERE wake_session_id = ? ORDER BY process_id
"""

# --- many processes -----------------------------------------------------------------------------------

_RUNNABLE = "processes p INDEXED BY processes_runnable WHERE p.runnable_at_ms IS NOT NULL"
RUNNABLE = f"""
    SELECT {_COLUMNS} FROM {_RUNNABLE} AND p.runnable_at_ms <= ? AND p.process_id > ?
    ORDER BY p.process_id LIMIT ?
"""  # noqa: S608
RUNNABLE_THROUGH = f"""
    SELECT {_COLUMNS} FROM {_RUNNABLE} AND p.runnable_at_ms <= ? AND p.process_id > ?
        AND p.process_id <= ?
    ORDER BY p.process_id LIMIT ?
"""  # noqa: S608
LAST_RUNNABLE = f"""
    SELECT p.process_id FROM {_RUNNABLE} AND p.runnable_at_ms <= ? ORDER BY p.process_id DESC LIMIT 1
"""  # noqa: S608
NEXT_RUNNABLE_AT = """
    SELECT min(runnable_at_ms) FROM processes INDEXED BY processes_resting
    WHERE runnable_at_ms > 0 AND runnable_at_ms > ?
"""
COUNT_LIVE = f"SELECT count(*) FROM processes INDEXED BY processes_live WHERE {LIVE}"  # noqa: S608
LIVE_REGISTRATIONS = f"""
    SELECT registration FROM processes INDEXED BY processes_live WHERE {LIVE}
"""  # noqa: S608
#: The feed behind a number: which process, where, and whether it was pruned.
CHANGED = """
    SELECT process_id, change_seq, 0 FROM processes WHERE change_seq > :cursor
    UNION ALL
    SELECT process_id, change_seq, 1 FROM process_tombstones WHERE change_seq > :cursor
    ORDER BY change_seq LIMIT :limit
"""


def listed(wanted: ProcessFilter) -> tuple[str, list[object]]:
    """What processes that are meant satisfy, and the values it is about. They are called `p`."""
    terms: list[str] = []
    values: list[object] = []
    statuses = wanted.statuses()
    if wanted.status == "live":
        terms.append(f"p.{LIVE}")
    elif wanted.status == "retired":
        terms.append(f"p.{ENDED}")
    elif statuses is not None:
        terms.append("p.status = ?")
        values += statuses
    equal = {
        "p.definition = ?": wanted.definition,
        "p.kind = ?": wanted.kind,
        "p.label = ?": wanted.label,
        "p.originator = ?": wanted.originator,
        "p.parent_id = ?": wanted.parent_id,
        "p.parked = ?": wanted.parked,
        "p.created_at_ms >= ?": wanted.created_from_ms,
        "p.created_at_ms < ?": wanted.created_to_ms,
        "p.process_id IN (SELECT process_id FROM process_observers WHERE session_id = ?)": (
            wanted.observed_by
        ),
    }
    for term, value in equal.items():
        if value is not None:
            terms.append(term)
            values.append(value)
    return " AND ".join(terms) or "true", values


def list_statement(terms: str) -> str:
    """Processes that satisfy terms, by id, behind one; its last two values are that id and a limit."""
    return f"""
        SELECT {_COLUMNS} FROM processes p WHERE {terms} AND p.process_id > ?
        ORDER BY p.process_id LIMIT ?
    """  # noqa: S608


# --- pruning ------------------------------------------------------------------------------------------

_HAS_PENDING = """
    EXISTS (
        SELECT 1 FROM process_wakes w INDEXED BY process_wakes_pending
        WHERE w.process_id = p.process_id AND w.state = 'pending'
    )
"""


def prune_statement(terms: str) -> str:
    """Ended processes that satisfy terms and did not change since a time, nor past a number, by id.

    With each, whether it has wakes that are not delivered. Its last values are time and number.
    """
    return f"""
        SELECT p.process_id, p.status, {_HAS_PENDING}
        FROM processes p INDEXED BY processes_ended
        WHERE p.{ENDED} AND {terms} AND p.updated_at_ms < ? AND p.change_seq <= ?
        ORDER BY p.process_id
    """  # noqa: S608


DELETE_EVENTS = "DELETE FROM process_events WHERE process_id = ?"
DELETE_OBSERVERS = "DELETE FROM process_observers WHERE process_id = ?"
DELETE_WAKES = "DELETE FROM process_wakes WHERE process_id = ?"
DELETE_PROCESS = "DELETE FROM processes WHERE process_id = ?"
ADD_TOMBSTONE = """
    INSERT INTO process_tombstones (process_id, status, pruned_at_ms, change_seq) VALUES (?, ?, ?, ?)
"""
IS_TOMBSTONE = "SELECT 1 FROM process_tombstones WHERE process_id = ?"

# --- checking -----------------------------------------------------------------------------------------

#: Every id of a process, as bytes: one that is damaged must not hide the others.
EVERY_PROCESS = "SELECT CAST(process_id AS BLOB) FROM processes"
#: A process with the length of its log and what is kept beside its state so that it can be asked for.
PROCESS_TOLD = f"""
    SELECT (SELECT count(*) FROM process_events e WHERE e.process_id = p.process_id), p.status, p.runnable_at_ms, p.parked, p.wake_session_id, p.updated_at_ms, p.originator,
        p.parent_id, p.kind, p.label, p.definition, {_COLUMNS}
    FROM processes p WHERE p.process_id = ?
"""  # noqa: S608
#: Events, observers and wakes of processes that are not there.
STRAY = """
    SELECT CAST(e.process_id AS BLOB), 'events' FROM process_events e
    WHERE NOT EXISTS (SELECT 1 FROM processes p WHERE p.process_id = e.process_id)
    UNION
    SELECT CAST(o.process_id AS BLOB), 'observers' FROM process_observers o
    WHERE NOT EXISTS (SELECT 1 FROM processes p WHERE p.process_id = o.process_id)
    UNION
    SELECT CAST(w.process_id AS BLOB), 'wakes' FROM process_wakes w
    WHERE NOT EXISTS (SELECT 1 FROM processes p WHERE p.process_id = w.process_id)
"""
