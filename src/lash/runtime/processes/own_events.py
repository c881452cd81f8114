"""The events that a running process appends to its own log, each once.

They are not in its journal: the log is where they are found when the process is run again.
"""

from collections.abc import AsyncIterator, Coroutine

import msgspec

from lash.core.errors import LashError, ReplayError
from lash.core.json import JsonValue, to_json
from lash.effects.outcomes import EffectFailed
from lash.processes.appending import same_payload
from lash.processes.event_types import is_signal
from lash.processes.events import ProcessEvent
from lash.runtime.processes.code import ProcessCode, refusal_of
from lash.runtime.processes.controlling import is_circumstance


class OwnEvents:
    """What one process appends."""

    __slots__ = ("_code", "_run")

    def __init__(self, code: ProcessCode) -> None:
        self._code = code
        self._run = code.run

    @property
    def _prefix(self) -> str:
        """What the replay keys of the segment's events begin with."""
        return f"process:{self._run.scope_id}:event:"

    async def recall(self) -> None:
        """Read what the segment appended before this run of it began."""
        before = self._prefix
        for declared in self._run.record.registration.event_types:
            if is_signal(declared.name):
                continue
            self._run.controller.replayed.appended(
                [
                    (event.replay_key.removeprefix(before), event)
                    async for event in self._of_type(declared.name)
                    if event.replay_key is not None and event.replay_key.startswith(before)
                ]
            )

    async def _of_type(self, event_type: str) -> AsyncIterator[ProcessEvent]:
        store, after = self._run.registry.store, 0
        while page := await store.process_events(self._code.id, after=after, event_type=event_type):
            for event in page:
                after = event.sequence
                yield event

    def emit(self, event_type: str, payload: object) -> Coroutine[object, object, int]:
        """Append an event, once; gives its sequence number."""
        key = self._code.next_key("emit")
        told = to_json(payload)

        async def emit() -> int:
            controller = self._code.controller()
            refused = f"{key}:refused"
            known = await controller.replayed_event(key, refused)
            if known is None:
                return (await self._append(key, refused, event_type, told)).sequence
            if known.event_type != event_type or not same_payload(known.payload, told):
                error = ReplayError(
                    "effect_replay_mismatch",
                    f"Process {self._code.id!r} appended another event here when it ran before "
                    f"({known.event_type!r}): its code changed. Go on with the version that did, or "
                    "begin a new process.",
                    replay_key=key,
                )
                controller.break_off(error)
                raise error
            return known.sequence

        return emit()

    async def _append(
        self, key: str, refused: str, event_type: str, payload: JsonValue
    ) -> ProcessEvent:
        """Append an event, or be refused as it was before."""
        controller = self._run.controller
        why: JsonValue = None
        if not controller.replayed.has(refused):
            try:
                async with controller.at_work():
                    return await self._run.append(event_type, payload, f"{self._prefix}{key}")
            except LashError as error:
                if is_circumstance(error):
                    raise
                why = {"code": str(error.code), "message": error.message}
        asked: JsonValue = {"event_type": event_type, "payload": payload}
        kept = await controller.keep(refused, asked, lambda: why)
        raise refusal_of(msgspec.convert(kept, EffectFailed))
