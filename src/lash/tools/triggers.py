"""What a tool's body may do with events: the narrow contract behind `ctx.triggers`."""

from typing import Protocol

from lash.effects.trigger_commands import TriggerEmission


class NamedEvent(Protocol):
    """An event, as `lash.TriggerEvent` declares it."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...


class ToolTriggers(Protocol):
    """The events that a tool's body may emit.

    What a call emits is named by the call and by how many it has emitted before, so an attempt that is
    run again, after a crash or as a retry, emits once: say the same in the same order each time, or give
    keys of your own. What was emitted stands, also if the attempt fails behind it: emit last.
    """

    async def emit(
        self,
        event: NamedEvent | str,
        payload: object = None,
        *,
        key: str | None = None,
        source: object = None,
        session: str | None = None,
    ) -> TriggerEmission:
        """Say that something occurred: all that subscribed is started, once.

        Args:
            event: One of the runtime's `triggers`, or its name.
            payload: What it says; checked against what was declared.
            key: Your own name for this one time, unique among all events of the database.
            source: Where it occurred, if events of this name come from several sources.
            session: Only subscriptions of this session are meant.

        Raises:
            ConfigurationError: `trigger_event_unknown`.
            ConflictError: `trigger_occurrence_conflict`: the key, or an earlier run of this call, stands
                for something else.
            LashError: `trigger_payload_invalid`, `trigger_occurrence_invalid`, `value_not_json`,
                `session_id_invalid`.
        """
        ...
