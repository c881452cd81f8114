"""`lash signal`: tells a process something, from a process that runs none."""

import asyncio
import sys
from dataclasses import dataclass

import msgspec

from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json
from lash.cli.output import note
from lash.cli.ps.documents import standing_json
from lash.cli.ps.standing import Standing
from lash.cli.reading import bystander
from lash.cli.steering import is_run, seen
from lash.cli.wording import printable
from lash.core.errors import ConfigurationError
from lash.processes.events import ProcessEvent

#: Given instead of a payload, it is read from stdin, and stands in no shell history.
STDIN = "-"


@dataclass(frozen=True, slots=True)
class SignalRequest:
    """What the command line asked for; None where it said nothing."""

    process_id: str
    name: str
    payload: str | None
    signal_id: str | None
    db: str
    as_json: bool

    def __repr__(self) -> str:
        return f"SignalRequest({self.process_id!r}, {self.name!r}, payload=<hidden>)"


@dataclass(frozen=True, slots=True)
class _Sent:
    event: ProcessEvent
    process: Standing
    run: bool


def send(request: SignalRequest) -> int:
    """Send a signal; 0 when it is stored.

    Raises:
        ConfigurationError: `usage_invalid`.
        ConflictError: `process_event_conflict`.
        LashError: `process_unknown`, `process_no_longer_retained`, `process_already_terminal`,
            `process_signal_name_invalid`, `process_signal_undeclared`, `process_event_invalid`.
    """
    if request.signal_id is not None and not request.signal_id.strip():
        raise ConfigurationError("usage_invalid", "The signal's --id is blank; nothing was sent.")
    sent = asyncio.run(_send(request, _payload(request.payload)))
    event = sent.event
    if request.as_json:
        write_json(
            {
                "process_id": event.process_id,
                "name": request.name,
                "id": request.signal_id,
                "sequence": event.sequence,
                "occurred_at_ms": event.occurred_at_ms,
                "process": standing_json(sent.process),
            }
        )
        return ExitCode.DONE
    told = f"sent: signal {request.name} is event {event.sequence} of process {event.process_id}."
    sys.stdout.write(printable(f"{told}\n"))
    if not sent.run and sent.process.state != "external":
        note("Nobody runs the process now: the signal is kept until a worker does.")
    return ExitCode.DONE


async def _send(request: SignalRequest, payload: object) -> _Sent:
    async with bystander(request.db) as runtime:
        event = await runtime.processes.signal(
            request.process_id, request.name, payload, id=request.signal_id
        )
        record = await runtime.processes.get(request.process_id)
        return _Sent(event, await seen(runtime, record), is_run(runtime, record))


def _payload(given: str | None) -> object:
    """The payload as it was written; what is no JSON is refused, and not repeated: it may be secret."""
    if given is None:
        return None
    text = _read_stdin() if given == STDIN else given
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ConfigurationError(
            "usage_invalid",
            "PAYLOAD_JSON is not JSON; nothing was sent. Text is written with quotes of its own: "
            "lash signal PROCESS NAME '\"text\"'",
        ) from error


def _read_stdin() -> str:
    if sys.stdin is None:
        raise ConfigurationError("usage_invalid", "There is no stdin to read the payload from.")
    if sys.stdin.isatty():
        note("Write the payload, then end the input with Ctrl-D:")
    return sys.stdin.read()
