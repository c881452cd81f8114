"""One process, with everything that is stored of it: its log, its journal, its relatives."""

from collections.abc import Sequence
from dataclasses import dataclass

from lash.cli.awaiting import AwaitedAnswer, awaited_answers
from lash.cli.ps.documents import outcome_json, standing_json
from lash.cli.ps.event_words import event_text
from lash.cli.ps.standing import Owners, Standing, known, standing
from lash.cli.ps.wanted import processes_of
from lash.cli.reading import now_ms
from lash.cli.recorded import RecordedEffect, effects_of
from lash.core.json import JsonValue, encode
from lash.core.scopes import ProcessScope, journal_key
from lash.processes.events import ProcessEvent
from lash.processes.listing import ProcessFilter
from lash.processes.model import (
    EngineInput,
    ExternalInput,
    ProcessEnv,
    ProcessRecord,
    ProcessTombstone,
    SessionTurnInput,
    ToolCallInput,
    segment_scope_id,
)
from lash.processes.outcomes import ProcessSuccess
from lash.processes.wakes import WakeDelivery
from lash.runtime.processes.refusals import pruned, unknown
from lash.runtime.stores import Store

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Story:
    """A process and all that is told of it.

    Attributes:
        process: How it stands.
        environment: What it runs under; None for work that runs under none.
        observers: The sessions that may see it.
        children: The processes it began.
        wakes: What it told sessions, and what became of that.
        events: Its log.
        effects: What its current segment recorded.
        waits: Which answers from outside its current segment waits for.
    """

    process: Standing
    environment: ProcessEnv | None
    observers: Sequence[str]
    children: Sequence[Standing]
    wakes: Sequence[WakeDelivery]
    events: Sequence[ProcessEvent]
    effects: Sequence[RecordedEffect]
    waits: Sequence[AwaitedAnswer]


async def load_story(store: Store, process_id: str) -> Story:
    """Read a process.

    Raises:
        LashError: `process_unknown`, `process_no_longer_retained`.
    """
    record = await store.load_process(process_id)
    if record is None:
        raise unknown(process_id)
    if isinstance(record, ProcessTombstone):
        raise pruned(record)
    now, ref = now_ms(), record.registration.env_ref
    lives = Owners(store, now).live
    segment = record.state.segment.ordinal
    scope = ProcessScope(process_id=segment_scope_id(process_id, segment))
    entries = await store.list_journal(journal_key(scope))
    return Story(
        process=standing(await known(store, record), lives, now),
        environment=None if ref is None else await store.load_env(ref),
        observers=await store.observers_of(process_id),
        children=[
            standing(child, lives, now)
            async for child in processes_of(store, ProcessFilter(parent_id=process_id))
        ],
        wakes=await store.list_wakes(process_id),
        events=await _events(store, record),
        # Which of its sleeps still go on is not recorded.
        effects=effects_of(entries, now, is_open=False),
        waits=() if record.retired else await awaited_answers(store, scope, now),
    )


async def _events(store: Store, record: ProcessRecord) -> Sequence[ProcessEvent]:
    """The log as far as it was when the row was read."""
    found: list[ProcessEvent] = []
    while len(found) < record.state.sequence:
        after = found[-1].sequence if found else 0
        page = await store.process_events(record.process_id, after=after, limit=_PAGE)
        if not page:
            break  # it was pruned meanwhile
        found += [event for event in page if event.sequence <= record.state.sequence]
        if page[-1].sequence >= record.state.sequence:
            break
    return found


def arguments_of(record: ProcessRecord) -> JsonValue:
    """What a process was begun with, or goes on with since it continued as new."""
    match record.registration.input:
        case EngineInput():
            payload = record.payload
            return payload.get("args", payload) if isinstance(payload, dict) else payload
        case ToolCallInput(call=call):
            return call.args
        case SessionTurnInput(turn_input=turn_input):
            return turn_input
        case ExternalInput(metadata=metadata):
            return metadata


def value_of(record: ProcessRecord) -> JsonValue:
    """What a process returned."""
    return record.outcome.value if isinstance(record.outcome, ProcessSuccess) else None


def story_json(story: Story, *, payloads: bool) -> dict[str, object]:
    """A process as the JSON document of `lash ps PROCESS`; payloads only where they are asked for."""
    record, env = story.process.record, story.environment
    return {
        "process": standing_json(story.process),
        "payloads": payloads,
        "arguments": arguments_of(record) if payloads else None,
        "value": value_of(record) if payloads else None,
        "environment": None
        if env is None
        else {
            "agent_name": env.agent_name,
            "agent_version": env.agent_version,
            "session_id": env.session_id,
            "plugins": sorted(env.plugin_options),
        },
        "observers": story.observers,
        "children": [standing_json(child) for child in story.children],
        "wakes": [
            {
                "sequence": wake.sequence,
                "session_id": wake.session_id,
                "state": wake.state,
                "attempts": wake.attempts,
                "discard_reason": wake.discard_reason,
            }
            for wake in story.wakes
        ],
        "events": [_event_json(event, payloads=payloads) for event in story.events],
        "journal": {
            "segment": record.state.segment.ordinal,
            "effects": story.effects,
            "waits": story.waits,
        },
        "outcome": None if record.outcome is None else outcome_json(record.outcome),
    }


def _event_json(event: ProcessEvent, *, payloads: bool) -> dict[str, object]:
    return {
        "sequence": event.sequence,
        "event_type": event.event_type,
        "occurred_at_ms": event.occurred_at_ms,
        "summary": event_text(event),
        "payload_bytes": len(encode(event.payload)),
        "payload": event.payload if payloads else None,
    }
