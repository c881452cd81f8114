"""Whatever a damaged file holds in whichever column: what reads it says `store_corrupt`, nothing else.

Every column of every table is given values that do not belong there, one at a time. An operation may
not notice; one that does must say so by its code, and never with an error of Python's.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

import lash
from lash.attachments.model import AttachmentMeta
from lash.attachments.transitions import AttachmentIntent, Sweeper
from lash.core.cancel import Cancellation
from lash.core.errors import StoreError
from lash.core.leases import Fence
from lash.core.scopes import RuntimeOperationScope, journal_key
from lash.effects.journal import (
    JournalRecord,
    ProcessAuthority,
    RetireFinished,
    RetireOperation,
    RetireSession,
    WriteAuthority,
)
from lash.effects.transitions import SPILL_BYTES
from lash.effects.waits.model import ResolvedCancelled, ResolvedOk
from lash.llm.usage import Usage
from lash.processes.listing import ProcessFilter, PruneRequest
from lash.processes.model import RecoveryDisposition
from lash.processes.outcomes import ExternalOwner
from lash.processes.registration import RegisterRequest, env_ref_of
from lash.processes.writes import (
    AppendEvent,
    ClaimRun,
    CompleteByAuthority,
    CompleteRun,
    ReleaseRun,
    RetargetWakes,
)
from lash.runtime.attachment_content import BytesContent
from lash.sessions.accepting import Accepted
from lash.sessions.deleting import Deleted
from lash.sessions.forking import ForkRequest
from lash.sessions.ingress import (
    ActiveTurn,
    CancelTarget,
    EnqueueRequest,
    Ingress,
    NextTurn,
    UserInput,
)
from lash.sessions.maintenance import VacuumRequest
from lash.sessions.model import Parked
from lash.sessions.queueing import CheckpointClaim, Taken
from lash.sessions.stopping import CancelRequest
from lash.sessions.usage import UsageEntry
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.processes import samples as processes
from lash.testing.conformance.samples import (
    ANA,
    SUPPORT,
    claim,
    record,
    request,
    said,
    scope_of,
    turn_commit,
    wait_row,
)
from lash.testing.conformance.triggers import board as triggers
from lash.triggers.commands import TriggerOperation
from lash.triggers.listing import (
    DeliveryFilter,
    DeliverySettled,
    OccurrenceFilter,
    RetentionRequest,
    SubscriptionFilter,
)
from lash.triggers.model import DeliveryFailure
from lash.triggers.transitions import Ingested

pytestmark = pytest.mark.slow

#: Of the lease that is held in the database below.
FENCE = Fence(fencing_token=2, nonce="nonce-of-ana-1")

Operation = Callable[[SqliteStore], Awaitable[object]]

_OPERATION = journal_key(RuntimeOperationScope(operation_id="o"))
_PARKED = Parked(code="agent_missing", message="none here")
_NEXT = NextTurn()
_EXTERNAL: RecoveryDisposition = "externally_owned"
_AT_CHECKPOINT = CheckpointClaim(
    session_id="s", turn_id="t3", checkpoint="after_work", effect_key="c1", fence=FENCE
)


def _item(item_id: str, ingress: Ingress = _NEXT, source_key: str | None = None) -> EnqueueRequest:
    return EnqueueRequest(
        session_id="s",
        item_id=item_id,
        payload=UserInput(input=said("more")),
        ingress=ingress,
        agent=SUPPORT,
        source_key=source_key,
        merge_key="m",
    )


def _by_id(item_id: str) -> CancelTarget:
    return CancelTarget(kind="input_id", value=item_id)


def _stop(turn_id: str) -> CancelRequest:
    return CancelRequest(
        session_id="s", turn_id=turn_id, cancellation=Cancellation(request_id="stop")
    )


_LARGE = '"' + "x" * SPILL_BYTES + '"'

#: Of the lease under which process `p` runs in the database below.
_RUN = Fence(fencing_token=1, nonce="nonce-of-ana-1")
_PROCESS = processes.scope("p")


def _ring(text: str) -> AppendEvent:
    return processes.ring(text, key=text)


#: Reading, and writing what can be done again and again.
_OPERATIONS: list[Operation] = [
    lambda store: store.list_sessions(),
    lambda store: store.open_sessions(),
    lambda store: store.load_head("s"),
    lambda store: store.load_path("s"),
    lambda store: store.lease_of("s"),
    lambda store: store.list_turns("s"),
    lambda store: store.list_open_turns("s"),
    lambda store: store.find_turn("s", "t1"),
    lambda store: store.find_turn("s", "t2"),
    lambda store: store.find_turn("s", "t3"),
    lambda store: store.load_journal(scope_of("t1")),
    lambda store: store.load_journal(scope_of("t3")),
    lambda store: store.load_journal(_OPERATION),
    lambda store: store.list_journal(_OPERATION),
    lambda store: store.lookup(_OPERATION, "r1"),
    lambda store: store.load_surroundings("1:a"),
    lambda store: store.inspect_waits([wait_row(store, "w1"), wait_row(store, "w2")]),
    lambda store: store.list_waits(scope_of("t1")),
    lambda store: store.is_revoked("gone"),
    lambda store: store.accept_turn(request("t2")),
    lambda store: store.accept_turn(request("t9", source_key="k1")),
    lambda store: store.claim_session("s", claim(ANA)),
    lambda store: store.renew_leases([WriteAuthority(session_id="s", fence=FENCE)], 30_000),
    lambda store: store.note_waiting("s", "t3", _PARKED),
    lambda store: store.park_turn("s", "t3", None, FENCE),
    lambda store: store.commit_turn(turn_commit("t1", FENCE)),
    lambda store: store.restart_turn("s", "t3", FENCE),
    lambda store: store.record(_OPERATION, [record("r1")], None),
    lambda store: store.finish_scope(_OPERATION, [record("r1")]),
    lambda store: store.open_wait(wait_row(store, "w1")),
    lambda store: store.resolve_wait(wait_row(store, "w2"), ResolvedCancelled()),
    lambda store: store.cancel_session_waits("s"),
    lambda store: store.load_path("s", whole=True),
    lambda store: store.list_usage("s"),
    lambda store: store.list_queue("s"),
    lambda store: store.find_item("s", _by_id("i1")),
    lambda store: store.find_item("s", _by_id("i3")),
    lambda store: store.enqueue(_item("i1", source_key="q1")),
    lambda store: store.enqueue(_item("i9", ingress=ActiveTurn(turn_id="t3"))),
    lambda store: store.has_arrived(_AT_CHECKPOINT),
    lambda store: store.take(_AT_CHECKPOINT),
    lambda store: store.cancel_items_from("s", _by_id("i1")),
    lambda store: store.request_cancel(_stop("t3")),
    lambda store: store.cancelled_turns(["s"]),
    lambda store: store.fork_session(ForkRequest(source_id="s", new_id="f")),
    lambda store: store.fork_session(ForkRequest(source_id="s", new_id="g", node_id="t1.m0")),
    lambda store: store.check(),
    lambda store: store.attachments.list_refs("s"),
    lambda store: store.attachments.list_uncommitted(2**62),
    lambda store: store.attachments.condemnations(),
    lambda store: store.blobs.list(),
    lambda store: content(store),  # noqa: PLW0108  it stands further down
    lambda store: store.triggers.execute(triggers_op("again")),
    lambda store: store.triggers.execute(triggers_op("filled")),
    lambda store: store.triggers.ingest(triggers.occurred("o1")),
    lambda store: store.triggers.ingest(triggers.occurred("o2")),
    lambda store: store.triggers.list_subscriptions(SubscriptionFilter(deleted=True)),
    lambda store: store.triggers.list_occurrences(OccurrenceFilter()),
    lambda store: store.triggers.list_deliveries(DeliveryFilter()),
    lambda store: store.triggers.list_deliveries(DeliveryFilter(state="reserved")),
    lambda store: store.triggers.retain(RetentionRequest(before_ms=0)),
    lambda store: store.load_process("p"),
    lambda store: store.load_process("gone"),
    lambda store: store.load_env(env_ref_of(processes.ENV)),
    lambda store: store.list_processes(ProcessFilter(observed_by="s")),
    lambda store: store.list_processes(ProcessFilter(status="live", definition="refund")),
    lambda store: store.list_processes(ProcessFilter(status="completed")),
    lambda store: store.runnable_processes(),
    lambda store: store.runnable_processes(through="z"),
    lambda store: store.last_runnable(),
    lambda store: store.next_runnable_at(),
    lambda store: store.process_events("p"),
    lambda store: store.process_events("p", event_type="ring"),
    lambda store: store.recent_events("p", 2),
    lambda store: store.count_events("p", "ring", 9),
    lambda store: store.observers_of("p"),
    lambda store: store.processes_changed_since(0),
    lambda store: store.changed_ids(0),
    lambda store: store.change_cursor(),
    lambda store: store.live_references(),
    lambda store: store.count_live(),
    lambda store: store.list_wakes("p"),
    lambda store: store.list_wakes("p", "pending"),
    lambda store: store.register_process(_registered("p")),
    lambda store: store.register_process(_registered("gone")),
    lambda store: store.register_process(_registered("new")),
    lambda store: store.write_process("p", processes.note(1, key="n")),
    lambda store: store.write_process("p", _ring("one")),
    lambda store: store.write_process("gone", _ring("one")),
    lambda store: store.write_process("p", ClaimRun(claim=claim(ANA))),
    lambda store: store.renew_processes([ProcessAuthority(process_id="p", fence=_RUN)], 30_000),
    lambda store: store.record(
        _PROCESS, [record("r9")], ProcessAuthority(process_id="p", fence=_RUN)
    ),
    lambda store: store.transfer_observers("s", "t", ["p"], "host"),
    lambda store: store.deliver_wakes(),
    lambda store: store.redrive_wake("p", 4),
    lambda store: store.deliver_wakes(),
    lambda store: store.write_process(
        "p", CompleteRun(fence=_RUN, outcome=processes.DONE, scope_key=_PROCESS)
    ),
    lambda store: store.prune_processes(PruneRequest(before_ms=2**62)),
    lambda store: store.retire(RetireFinished(before_ms=2**62)),
    lambda store: store.retire(RetireOperation(operation_id="o")),
    lambda store: store.retire(RetireSession(session_id="s")),
    lambda store: store.revoke_session_waits("s"),
    lambda store: store.accept_turn(request("t9")),
    lambda store: store.release_lease("s", FENCE),
    lambda store: store.delete_session("f", claim(ANA)),
    lambda store: store.delete_session("s", claim(ANA)),
    lambda store: store.vacuum(VacuumRequest(before_ms=2**62)),
    lambda store: store.check(),
]


def _registered(process_id: str) -> RegisterRequest:
    asked = processes.refund(process_id, wake_session_id="s")
    return RegisterRequest(
        registration=asked, observers=("s",), env=processes.ENV, claim=claim(ANA)
    )


_JUNK = [
    "'{'",
    "7",
    "1.5",
    "-9223372036854775808",
    "9223372036854775807",
    "''",
    "'{\"items\":7}'",
    "'{\"x\":' || replace(hex(zeroblob(60000)), '00', '[')",
    "NULL",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with something in every table."""
    path = tmp_path_factory.mktemp("whole") / "agents.db"
    asyncio.run(fill(path))
    return path


#: sha256 of b"hello".
_HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


async def fill(path: Path) -> None:
    store = SqliteStore(path, VirtualClock())
    first = await store.accept_turn(request("t1", source_key="k1"))
    assert isinstance(first, Accepted)
    spilled = JournalRecord(
        replay_key="r1",
        kind="llm_call",
        identity="1:identity",
        surroundings="1:a",
        envelope="{}",
        outcome=_LARGE,
        surroundings_content="{}",
    )
    await store.record(scope_of("t1"), [record("r1"), record("r2")], None)
    used = UsageEntry(source="turn", model="m", usage=Usage(input_tokens=10, output_tokens=3))
    commit = turn_commit("t1", first.lease.fence)
    await store.commit_turn(msgspec.structs.replace(commit, ledger=(used,)))
    await store.fork_session(ForkRequest(source_id="s", new_id="old"))
    later = await store.accept_turn(request("t1", session="old"))
    assert isinstance(later, Accepted)
    await store.commit_turn(turn_commit("t1", later.lease.fence, session="old"))
    await store.fork_session(ForkRequest(source_id="old", new_id="newer"))
    assert isinstance(await store.delete_session("old", claim(ANA)), Deleted)
    for turn_id in ("t2", "t3"):
        assert isinstance(await store.accept_turn(request(turn_id)), Accepted)
    assert await store.park_turn("s", "t3", _PARKED, FENCE)
    assert await store.restart_turn("s", "t2", FENCE) is not None
    await store.record(scope_of("t3"), [record("r1")], None)
    await store.enqueue(_item("i1", source_key="q1"))
    await store.enqueue(_item("i2", ActiveTurn(turn_id="t3", min_boundary="before_completion")))
    await store.enqueue(_item("i3", ActiveTurn(turn_id="t3")))
    taken = await store.take(_AT_CHECKPOINT)
    assert isinstance(taken, Taken)
    assert [item.item_id for item in taken.items] == ["i3"]
    await store.request_cancel(_stop("t3"))
    await store.record(_OPERATION, [spilled], None)
    await store.open_wait(wait_row(store, "w1", deadline_at_ms=2**60))
    await store.resolve_wait(wait_row(store, "w2"), ResolvedOk(payload=1))
    await store.revoke_session_waits("gone")
    await fill_processes(store)
    await fill_attachments(store)
    await fill_triggers(store)
    await store.aclose()


async def content(store: SqliteStore) -> bytes | None:
    """What was put, if it is found: under another name it is not, which is no damage that shows."""
    try:
        return await store.blobs.get(_HELLO)
    except lash.LashError as error:
        if error.code != "attachment_not_found":
            raise
        return None


async def fill_attachments(store: SqliteStore) -> None:
    """A content that a session refers to, and one that a sweep has claimed."""
    meta = AttachmentMeta(media_type="text/plain", byte_len=5)
    kept = AttachmentIntent(session_id="s", attachment_id=_HELLO, meta=meta)
    await store.attachments.begin_write(kept)
    await store.blobs.put(_HELLO, BytesContent(b"hello"))
    await store.attachments.condemn("0" * 64, Sweeper(owner=ANA, nonce="sweep-1"))


async def fill_triggers(store: SqliteStore) -> None:
    """A subscription of a session that hears of two events, of which one could not be started."""
    await store.triggers.execute(triggers_op("filled"))
    heard = await store.triggers.ingest(triggers.occurred("o1"))
    assert isinstance(heard, Ingested)
    why = DeliveryFailure(code="trigger_payload_invalid", message="no")
    (delivery,) = heard.deliveries
    await store.triggers.settle(
        [DeliverySettled(delivery_id=delivery.delivery_id, state="failed", failure=why)]
    )


def triggers_op(operation_id: str) -> TriggerOperation:
    wanted = triggers.registration(triggers.draft(name="n"), triggers.of_session("other"))
    return TriggerOperation(operation_id=operation_id, command=wanted)


async def fill_processes(store: SqliteStore) -> None:
    """One that was pruned, one that runs and has wakes in every state, and one that rests."""
    await store.register_process(RegisterRequest(registration=processes.refund("gone", _EXTERNAL)))
    ending = CompleteByAuthority(outcome=processes.DONE, authority=ExternalOwner())
    await store.write_process("gone", ending)
    pruned = await store.prune_processes(PruneRequest(before_ms=2**62))
    assert pruned.processes == 1
    await store.register_process(_registered("p"))
    await store.record(_PROCESS, [record("r1")], ProcessAuthority(process_id="p", fence=_RUN))
    await store.write_process("p", _ring("one"))
    assert (await store.deliver_wakes()).delivered == ("s",)
    await store.write_process("p", _ring("two"))
    await store.write_process("p", RetargetWakes(session_id="nobody"))
    await store.write_process("p", _ring("three"))
    await store.register_process(_registered("q"))
    await store.write_process("q", ReleaseRun(fence=_RUN, retry=processes.rest(2**52)))


def columns(path: Path) -> Sequence[tuple[str, str]]:
    """Every column, except the secret, without which no store opens."""
    with closing(sqlite3.connect(path)) as other:
        found = other.execute("""
            SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c
            WHERE t.type = 'table' AND t.name <> 'meta' ORDER BY t.name, c.cid
        """)
        return found.fetchall()


def damage(path: Path, table: str, column: str, junk: str) -> bool:
    """Put junk into every row, or where it must be unique into one; False where it cannot be put."""
    with closing(sqlite3.connect(path)) as other:
        for where in ("", f" WHERE {_first(other, table)}"):
            try:
                other.execute(f"UPDATE {table} SET {column} = {junk}{where}")  # noqa: S608
            except sqlite3.IntegrityError:
                continue
            other.commit()
            return True
    return False


def _first(other: sqlite3.Connection, table: str) -> str:
    """What is true of the first row only."""
    (sql,) = other.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    keys = other.execute(f"SELECT name FROM pragma_table_info('{table}') WHERE pk > 0")  # noqa: S608  our own names
    key = ", ".join(name for (name,) in keys) if "WITHOUT ROWID" in sql else "rowid"
    return f"({key}) = (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1)"  # noqa: S608


async def noticed(whole: Path, directory: Path, junk: str) -> set[str]:
    """Put junk into each column in turn, try everything, and say which columns it was found in."""
    found: set[str] = set()
    for table, column in columns(whole):
        path = directory / f"{table}-{column}.db"
        shutil.copy(whole, path)
        if damage(path, table, column, junk):
            store = SqliteStore(path, VirtualClock())
            for number, operation in enumerate(_OPERATIONS):
                code = await complaint(store, operation)
                where = f"{table}.{column}, operation {number}"
                assert code in (None, "store_corrupt"), f"{where}: {code}"
                if code is not None:
                    found.add(f"{table}.{column}")
            await store.aclose()
        path.unlink()
    return found


async def complaint(store: SqliteStore, operation: Operation) -> str | None:
    try:
        await operation(store)
    except StoreError as error:
        return error.code
    except Exception as error:
        return repr(error)
    return None


@pytest.mark.parametrize("junk", _JUNK)
async def test_junk_in_any_column_is_reported_as_damage_or_not_at_all(
    whole: Path, tmp_path: Path, junk: str
) -> None:
    await noticed(whole, tmp_path, junk)


#: What no value is read from: numbers that only join rows, and what is only compared with.
_NEVER_READ = {
    "attachment_bytes.attachment_id",
    "await_events.id",
    "deleted_sessions.deleted_at_ms",
    "journal.id",
    "journal.scope",
    "leases.session_id",
    "nodes.id",
    "process_clock.singleton",
    "process_envs.env_ref",
    "process_events.process_id",
    "processes.definition",
    "processes.kind",
    "processes.label",
    "processes.originator",
    "processes.parent_id",
    "processes.parked",
    "processes.status",
    "processes.updated_at_ms",
    "processes.wake_session_id",
    "queue.kind",
    "queue.scope",
    "queue.settled_at_ms",
    "revoked_sessions.revoked_at_ms",
    "revoked_sessions.session_id",
    "scopes.finished_at_ms",
    "scopes.id",
    "scopes.process_id",
    "scopes.session_id",
    "sessions.origin",
    # Those of triggers are compared with the records beside them: `lash doctor` finds them.
    "trigger_deliveries.occurrence_id",
    "trigger_deliveries.starts_process",
    "trigger_deliveries.subscription_id",
    "trigger_occurrences.event",
    "trigger_occurrences.occurred_at_ms",
    "trigger_occurrences.occurrence_key",
    "trigger_occurrences.source_key",
    "trigger_receipts.address",
    "trigger_receipts.owner_session",
    "trigger_subscriptions.deleted",
    "trigger_subscriptions.enabled",
    "trigger_subscriptions.event",
    "trigger_subscriptions.name",
    "trigger_subscriptions.owner",
    "trigger_subscriptions.owner_session",
    "trigger_subscriptions.registrant_session",
    "trigger_subscriptions.source_key",
    "trigger_subscriptions.subscription_id",
    "trigger_subscriptions.subscription_key",
    "trigger_subscriptions.target",
    "turn_cancels.requested_at_ms",
    "turn_cancels.session_id",
    "turn_cancels.settled_at_ms",
    "turn_cancels.turn_id",
    "turns.revision",
    "usage.session_id",
}


@pytest.mark.parametrize("junk", ["x'ff00'", "CAST(x'ff' AS TEXT)"])
async def test_bytes_and_broken_text_are_noticed_in_every_column_that_is_read(
    whole: Path, tmp_path: Path, junk: str
) -> None:
    every = {f"{table}.{column}" for table, column in columns(whole)}

    # Bytes may be any bytes; whoever is given them compares their hash.
    unread = _NEVER_READ | ({"attachment_bytes.content"} if junk == "x'ff00'" else set())
    assert every - await noticed(whole, tmp_path, junk) == unread
