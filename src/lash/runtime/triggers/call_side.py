"""`ctx.triggers` of tools: what the body of one attempt emits (tools spec 2.9).

An emission is written when the body asks for it, under a key that is made of the call and of how many
came before: the attempt that is run again, or the next one, finds it. What was emitted is recorded with
the attempt.
"""

from lash.core.clock import Clock
from lash.core.errors import ConflictError
from lash.core.json import digest, to_json
from lash.effects.trigger_commands import TriggerEmission
from lash.runtime.asking_again import asking_again
from lash.runtime.triggers.side import TriggerSide, emission_of
from lash.tools.triggers import NamedEvent


class CallTriggers:
    """The triggers of a tool call; see `lash.tools.triggers.ToolTriggers`.

    Args:
        side: The triggers of the runtime.
        clock: Measures the rests while the store is in trouble.
        call_key: The same for every attempt of the call.
        emissions: Where what was emitted is noted.
    """

    def __init__(
        self, side: TriggerSide, clock: Clock, call_key: str, emissions: list[TriggerEmission]
    ) -> None:
        self._side = side
        self._clock = clock
        self._call_key = call_key
        self._emissions = emissions
        self._asked = 0

    async def emit(
        self,
        event: NamedEvent | str,
        payload: object = None,
        *,
        key: str | None = None,
        source: object = None,
        session: str | None = None,
    ) -> TriggerEmission:
        """Say that something occurred."""
        self._asked += 1  # before anything is awaited: events may be emitted side by side
        place = digest("tool-emission", [self._call_key, self._asked])
        named = event if isinstance(event, str) else event.name
        said, where = to_json(payload), to_json(source)
        try:
            report = await asking_again(
                lambda: self._side.emit(
                    named,
                    said,
                    key=place if key is None else key,
                    source=where,
                    session=session,
                ),
                self._clock,
            )
        except ConflictError as error:
            if key is not None:
                raise
            raise ConflictError(
                str(error.code),
                f"An earlier run of this tool call has emitted {named!r} here and said something else; "
                "nothing was emitted now. Say the same each time, or give the event a key.",
                event=named,
            ) from error
        emission = emission_of(report)
        if all(each.occurrence_id != emission.occurrence_id for each in self._emissions):
            self._emissions.append(emission)
        return emission
