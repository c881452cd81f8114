"""Driving a recorded turn again, to see whether today's code still comes to the same.

Nothing is executed and nothing is written: what is not recorded ends the replay. This finds a clock,
a random id or an unsorted set in an agent before a crash in production does.
"""

import asyncio
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from lash.core.cancel import Cancellation, CancelToken
from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.core.json import Data, JsonValue, encode
from lash.core.leases import Fence
from lash.core.scopes import TurnScope, journal_key, scope_session_id
from lash.core.seams import unobserved
from lash.effects.divergence import changes
from lash.effects.hosts import EffectHost
from lash.effects.journal import JournalEntry, WriteAuthority
from lash.effects.replaying import Divergence, ReplayController, ReplayStoppedError
from lash.runtime.agents import AgentDefinition, AgentRegistry, default_model
from lash.runtime.direct import BoundModel
from lash.runtime.history import History
from lash.runtime.refusals import missing_agent
from lash.runtime.stopping import StopRequested
from lash.runtime.stores import Store
from lash.runtime.turn_drive import DriveContext, TurnDrive
from lash.sessions.accepting import KnownTurn
from lash.sessions.committing import CommitReceipt, TurnCommit
from lash.sessions.model import AcceptedTurn, AgentRef, SessionHead, TurnRecord, messages_of
from lash.sessions.remembering import config_of
from lash.turn.messages import Message

Verdict: TypeAlias = Literal["identical", "drifted", "diverged"]


class ReplayReport(Data):
    """What driving a recorded turn again came to.

    Attributes:
        session_id: The session.
        turn_id: The turn.
        verdict: `identical`; `drifted` when only surroundings changed, which a runtime accepts by
            default; `diverged` when a runtime would park the turn, or come to something else.
        committed: Whether the turn had ended. Of an open one, only what is recorded is compared.
        effects: How many effects were replayed.
        agent: Whose turn it is, as it was recorded.
        replayed_with: Which version drove it now.
        divergence: The first difference that matters.
        drift: How surroundings differ.
        next_effects: For an open turn: what it would do next, or is at.
    """

    session_id: str
    turn_id: str
    verdict: Verdict
    committed: bool
    effects: int
    agent: AgentRef
    replayed_with: AgentRef
    divergence: Divergence | None = None
    drift: tuple[Divergence, ...] = ()
    next_effects: tuple[str, ...] = ()


async def replay_turn(
    session_id: str,
    turn_id: str,
    *,
    store: Store,
    effects: EffectHost,
    agents: AgentRegistry,
    clock: Clock,
) -> ReplayReport:
    """Drive a turn against its journal.

    Raises:
        LashError: `session_unknown`, `turn_unknown`; `agent_missing` when no version is registered;
            `journal_retired` when nothing is left to replay; `replay_unsupported` in a runtime that
            records no effects.
        StoreError: The store could not be read.
    """
    if not effects.capabilities.owns_replay:
        raise LashError(
            "replay_unsupported",
            "This runtime keeps no journal, so nothing can be replayed; give it a file.",
        )
    head, known = await _find(store, session_id, turn_id)
    key = journal_key(TurnScope(session_id=session_id, turn_id=known.turn_id))
    if known.record is not None and not await store.list_journal(key):
        raise LashError(
            "journal_retired",
            f"There is nothing to replay: the journal of turn {known.turn_id!r} was retired, so only "
            "its result is kept. Choose a newer turn.",
            session_id=session_id,
            turn_id=known.turn_id,
        )
    ref = known.agent or head.agent
    agent = _agent(agents, ref)
    turn = AcceptedTurn(
        session_id=session_id,
        turn_id=known.turn_id,
        sequence=0,
        agent=ref,
        input=known.input,
        accepted_at_ms=0,
        restarts=known.open.restarts if known.open else 0,
    )
    scope = TurnScope(session_id=session_id, turn_id=known.turn_id)
    cancellation = known.record.cancellation if known.record else None
    # A turn that was stopped asks for nothing beyond its records.
    ends = None if cancellation is None else StopRequested(cancellation)
    controller = ReplayController(store, scope, is_open=known.record is None, ends=ends)
    history = await _history_before(store, head, known.turn_id, known.record)
    context = _context(
        store, effects, controller, clock=clock, agent=agent, cancellation=cancellation
    )
    drive = TurnDrive(context, agent, turn, history)
    divergence: Divergence | None = None
    try:
        commit = await _played(drive, controller)
        if commit is not None and cancellation is not None and commit.cancellation is None:
            commit = drive.as_cancelled(commit, cancellation)
        divergence = await _compare(store, controller, known.record, commit)
    except ReplayStoppedError as stopped:
        divergence = stopped.divergence
    drift = tuple(controller.drifted)
    return ReplayReport(
        session_id=session_id,
        turn_id=known.turn_id,
        verdict="diverged" if divergence else "drifted" if drift else "identical",
        committed=known.record is not None,
        effects=len(controller.asked),
        agent=ref,
        replayed_with=agent.ref,
        divergence=divergence,
        drift=drift,
        next_effects=tuple(f"{kind} {key}" for kind, key in controller.held),
    )


async def _played(drive: TurnDrive, controller: ReplayController) -> TurnCommit | None:
    """What the turn would commit; None when it is open and came to where its records end.

    It is played in a task of its own, which can be stopped without a trace in the caller's.
    """
    playing = asyncio.ensure_future(drive.play())
    stuck = asyncio.ensure_future(controller.stuck.wait())
    try:
        await asyncio.wait((playing, stuck), return_when=asyncio.FIRST_COMPLETED)
        return playing.result() if playing.done() else None
    finally:
        stuck.cancel()
        playing.cancel()
        await asyncio.wait((playing, stuck))


async def load_journal(store: Store, session_id: str, turn_id: str) -> Sequence[JournalEntry]:
    """What a turn recorded so far, in order.

    Raises:
        LashError: `session_unknown`, `turn_unknown`.
    """
    _, known = await _find(store, session_id, turn_id)
    scope = TurnScope(session_id=session_id, turn_id=known.turn_id)
    return await store.list_journal(journal_key(scope))


async def _find(store: Store, session_id: str, turn_id: str) -> tuple[SessionHead, KnownTurn]:
    head = await store.load_head(session_id)
    if head is None:
        raise LashError("session_unknown", f"There is no session {session_id!r} in this store.")
    known = await store.find_turn(session_id, turn_id)
    if known is None:
        raise LashError(
            "turn_unknown", f"Session {session_id!r} has no turn {turn_id!r}.", turn_id=turn_id
        )
    return head, known


def _agent(agents: AgentRegistry, ref: AgentRef) -> AgentDefinition:
    """The agent that drove the turn, or the newest of its name: to see what a deploy would do."""
    found = agents.find(ref)
    if found is not None:
        return found
    if ref.name not in agents.names:
        raise missing_agent(ref, agents)
    return agents.newest(ref.name)


async def _history_before(
    store: Store, head: SessionHead, turn_id: str, record: TurnRecord | None
) -> History:
    """The committed history as the turn found it."""
    if record is None:
        return History(head, messages_of(await store.load_path(head.session_id)))
    nodes = list(await store.load_path(head.session_id, whole=True))
    own = (head.session_id, turn_id)
    places = (place for place, node in enumerate(nodes) if (node.session_id, node.turn_id) == own)
    first = next(places, len(nodes))
    before = nodes[:first]
    leaf = before[-1] if before else None
    standing = msgspec.structs.replace(
        head,
        revision=record.revision - 1,
        leaf_id=leaf.node_id if leaf else None,
        leaf_digest=leaf.digest if leaf else "",
        turn_index=record.turn_index - 1,
        config=config_of(record, await store.list_turns(head.session_id)),
    )
    frame = next((place for place in reversed(range(first)) if nodes[place].frame), 0)
    return History(standing, messages_of(before[frame:]))


async def _compare(
    store: Store,
    controller: ReplayController,
    record: TurnRecord | None,
    commit: TurnCommit | None,
) -> Divergence | None:
    """Whether the replay came to what was committed, by way of everything that was recorded."""
    unused = await _unused(store, controller)
    if unused is not None or record is None or commit is None:
        return unused
    nodes = await store.load_path(record.session_id, whole=True)
    own = (record.session_id, record.turn_id)
    kept = messages_of([node for node in nodes if (node.session_id, node.turn_id) == own])
    made = (*commit.messages, *commit.frame_messages)
    before, now = _content(record, kept), _content(commit, made)
    found = tuple(changes(before, now, "result"))
    if not found:
        return None
    cause = "the same effects lead to another result: what is made of them changed"
    return Divergence(what="result", cause=cause, changes=found)


def _content(turn: TurnRecord | TurnCommit, messages: Sequence[Message]) -> JsonValue:
    content = {
        "outcome": turn.outcome,
        "text": turn.text,
        "usage": turn.usage,
        "tool_calls": turn.tool_calls,
        "messages": list(messages),
    }
    return msgspec.json.decode(encode(content))  # type: ignore[no-any-return]  # JSON by construction


async def _unused(store: Store, controller: ReplayController) -> Divergence | None:
    """The first record that was never asked for."""
    asked = set(controller.asked)
    for entry in await store.list_journal(journal_key(controller.scope)):
        # A sleep that was broken off has a second record, which goes with the first.
        if entry.replay_key.removesuffix(":cancelled") not in asked:
            cause = "the code no longer asks for something that was recorded"
            return Divergence(
                what="unused", cause=cause, effect=entry.kind, replay_key=entry.replay_key
            )
    return None


def _context(
    store: Store,
    effects: EffectHost,
    controller: ReplayController,
    *,
    clock: Clock,
    agent: AgentDefinition,
    cancellation: Cancellation | None,
) -> DriveContext:
    def no_model(model: object) -> BoundModel:
        raise LashError("model_invalid", f"{model!r} is not asked while replaying.")

    def no_commit(receipt: CommitReceipt, commit: TurnCommit) -> None:
        raise AssertionError(receipt, commit)  # a replay is played, never committed

    cancel = CancelToken()
    if cancellation is not None:
        cancel.cancel(cancellation)
    own = BoundModel(spec=agent.model, provider=agent.provider, retry=agent.retry)

    return DriveContext(
        store=store,
        host=effects,
        controller=controller,
        models=lambda agent: default_model(agent, no_model),
        clock=clock,
        announce=lambda _: None,
        committed=no_commit,
        seams=unobserved,
        authority=WriteAuthority(
            session_id=scope_session_id(controller.scope) or "",
            fence=Fence(fencing_token=0, nonce="replay"),
        ),
        scope_key=journal_key(controller.scope),
        cancel=cancel,
        resolve_model=lambda _: own,  # nothing is asked; another model is a drift that is reported
    )
