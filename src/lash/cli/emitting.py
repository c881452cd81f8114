"""`lash emit`: writes down that something occurred, from a process that starts nothing."""

import asyncio
import sys
from dataclasses import dataclass

import msgspec

from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json
from lash.cli.output import note
from lash.cli.reading import existing_store
from lash.cli.triggers import delivery_json, occurrence_json
from lash.cli.wording import printable
from lash.core.errors import ConfigurationError, ConflictError
from lash.core.json import JsonValue
from lash.triggers.checking import check_occurrence
from lash.triggers.model import OccurrenceRequest
from lash.triggers.transitions import AlreadyIngested, Ingested, OccurrenceConflict

#: Given instead of a payload, it is read from stdin, and stands in no shell history.
STDIN = "-"


@dataclass(frozen=True, slots=True)
class EmitOptions:
    """What the command line asked for; None where it said nothing."""

    event: str
    payload: str | None
    key: str
    source: str | None
    db: str
    as_json: bool

    def __repr__(self) -> str:
        return f"EmitOptions({self.event!r}, {self.key!r}, payload=<hidden>)"


def emit(options: EmitOptions) -> int:
    """Write down an occurrence with all it means; 0 when it is stored.

    Raises:
        ConfigurationError: `usage_invalid`. ConflictError: `trigger_occurrence_conflict`.
        LashError: `trigger_occurrence_invalid`.
    """
    request = OccurrenceRequest(
        event=options.event,
        key=options.key,
        payload=_json(_given(options.payload), "--payload"),
        source=_json(options.source, "--source"),
    )
    check_occurrence(request)
    result = asyncio.run(_emit(request, options.db))
    if options.as_json:
        write_json(
            {
                "occurrence": occurrence_json(result.occurrence),
                "replayed": isinstance(result, AlreadyIngested),
                "deliveries": [delivery_json(each) for each in result.deliveries],
            }
        )
        return ExitCode.DONE
    _tell(options, result)
    return ExitCode.DONE


async def _emit(request: OccurrenceRequest, db: str) -> Ingested | AlreadyIngested:
    async with existing_store(db) as store:
        result = await store.triggers.ingest(request)
    if isinstance(result, OccurrenceConflict):
        raise ConflictError(
            "trigger_occurrence_conflict",
            f"The key {request.key!r} was used before, for an event {result.occurrence.event!r} that "
            "says something else; nothing was emitted. Use another --key for another occurrence.",
            key=request.key,
        )
    return result


def _tell(options: EmitOptions, result: Ingested | AlreadyIngested) -> None:
    heard = len(result.deliveries)
    who = "1 subscription hears" if heard == 1 else f"{heard} subscriptions hear"
    before = ", as before" if isinstance(result, AlreadyIngested) else ""
    sys.stdout.write(printable(f"emitted: {options.event}, key {options.key}; {who} it{before}.\n"))
    waiting = sum(each.state == "reserved" for each in result.deliveries)
    if waiting:
        note(f"{waiting} of them wait for a runtime or a worker that has their code.")


def _given(payload: str | None) -> str | None:
    if payload != STDIN:
        return payload
    if sys.stdin is None:
        raise ConfigurationError("usage_invalid", "There is no stdin to read the payload from.")
    if sys.stdin.isatty():
        note("Write the payload, then end the input with Ctrl-D:")
    return sys.stdin.read()


def _json(text: str | None, option: str) -> JsonValue:
    """JSON as it was written; what is none is refused, and not repeated: it may be secret."""
    if text is None:
        return None
    try:
        told: JsonValue = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ConfigurationError(
            "usage_invalid",
            f"{option} is not JSON; nothing was emitted. Text is written with quotes of its own: "
            f"{option} '\"text\"'",
        ) from error
    return told
