"""`lash cancel`: asks a turn, or a process, to stop, whoever drives it, and says what came of it."""

import asyncio
import sys
from dataclasses import dataclass

from lash.app.results import TurnResult
from lash.app.runtime import Runtime
from lash.app.session import Session
from lash.app.stopping import CancelReceipt
from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json
from lash.cli.output import note
from lash.cli.reading import bystander
from lash.cli.wording import cancelled_text, outcome_text, printable
from lash.core.errors import ConfigurationError

ORIGIN = "lash cancel"

#: Ending a turn that nobody drives takes one transaction, and a lease that may have to be waited for.
_END_S = 15.0


@dataclass(frozen=True, slots=True)
class CancelOptions:
    """What the command line asked for; None where it said nothing."""

    session_id: str | None
    turn_id: str | None
    process_id: str | None
    db: str
    reason: str | None
    wait: bool
    as_json: bool


@dataclass(frozen=True, slots=True)
class _Came:
    """What came of it. `known` is False for a turn that was never accepted."""

    receipt: CancelReceipt
    known: bool
    result: TurnResult | None


def cancel(options: CancelOptions) -> int:
    """Ask a turn or a process to stop; 0 when it is asked, 1 when there is nothing to stop any more.

    Raises:
        ConfigurationError: `usage_invalid`.
        LashError: `turn_id_invalid`; with `wait`, why the turn cannot go on; `process_unknown`,
            `process_no_longer_retained`.
    """
    if (options.session_id is None) == (options.process_id is None):
        raise ConfigurationError(
            "usage_invalid", "Say what is to stop: a SESSION, or a process with --process ID."
        )
    if options.process_id is not None:
        from lash.cli.cancel_process import cancel_process

        return cancel_process(
            options.process_id,
            options.db,
            reason=options.reason,
            wait=options.wait,
            as_json=options.as_json,
        )
    return _cancel_turn(options, options.session_id or "")


def _cancel_turn(options: CancelOptions, session_id: str) -> int:
    came = asyncio.run(_cancel(options, session_id))
    if options.as_json:
        write_json(_document(session_id, came))
    else:
        sys.stdout.write(f"{printable(_told(options, session_id, came))}\n")
        if came.result is not None:
            sys.stdout.write(f"{printable(_ended(came.result))}\n")
    asked = came.receipt.outcome in ("requested", "already_requested")
    if asked and not came.known and not options.as_json:
        note(
            f"There is no turn {came.receipt.turn_id!r} yet: the request holds for the turn once it "
            "comes. Check the id if you meant one that runs.",
            "yellow",
        )
    return ExitCode.DONE if asked else ExitCode.FAILED


async def _cancel(options: CancelOptions, session_id: str) -> _Came:
    async with bystander(options.db) as runtime:
        session = runtime.session(session_id)
        receipt = await session.cancel(options.turn_id, origin=ORIGIN, reason=options.reason)
        turn_id = receipt.turn_id
        if turn_id is None or receipt.result is not None:
            return _Came(receipt, known=turn_id is not None, result=receipt.result)
        known = await runtime.engine.store.find_turn(session.id, turn_id) is not None
        result: TurnResult | None = None
        if known and options.wait:
            result = await session.wait(turn_id)
        elif known and await _left_alone(runtime, session, turn_id):
            result = await _end(session, turn_id)
        return _Came(receipt, known=known, result=result)


async def _left_alone(runtime: Runtime, session: Session, turn_id: str) -> bool:
    """Whether nobody drives the turn, and it is the one that comes first."""
    turns = await runtime.engine.store.list_open_turns(session.id)
    first = bool(turns) and turns[0].turn_id == turn_id
    return first and not await runtime.engine.held_elsewhere(session.id)


async def _end(session: Session, turn_id: str) -> TurnResult | None:
    try:
        async with asyncio.timeout(_END_S):
            return await session.wait(turn_id)
    except TimeoutError:
        return None  # it was asked to stop all the same; the next runtime ends it


def _told(options: CancelOptions, session_id: str, came: _Came) -> str:
    receipt = came.receipt
    match receipt.outcome:
        case "requested":
            return f"requested: turn {receipt.turn_id} will end as cancelled."
        case "already_requested":
            who = cancelled_text(receipt.cancellation) if receipt.cancellation else "by somebody"
            return f"already requested: turn {receipt.turn_id} was asked to stop {who}."
        case "completion_won_race":
            return (
                f"completion won: turn {receipt.turn_id} had come to its end; nothing was changed."
            )
        case _ if options.turn_id is None:
            return (
                f"unknown: nothing is open in session {session_id!r}, or there is no such "
                "session; nothing was changed."
            )
        case _:
            return f"unknown: there is no session {session_id!r}; nothing was changed."


def _ended(result: TurnResult) -> str:
    by = f" {cancelled_text(result.cancellation)}" if result.cancellation is not None else ""
    return f"It ended: {outcome_text(result.outcome)}{by}."


def _document(session_id: str, came: _Came) -> dict[str, object]:
    receipt, result = came.receipt, came.result
    return {
        "session_id": session_id,
        "turn_id": receipt.turn_id,
        "outcome": receipt.outcome,
        "turn_known": came.known,
        "cancellation": receipt.cancellation,
        "committed": None
        if result is None
        else {
            "turn_id": result.turn_id,
            "outcome": result.outcome,
            "text": result.text,
            "cancellation": result.cancellation,
        },
    }
