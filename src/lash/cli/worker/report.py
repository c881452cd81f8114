"""What a worker tells: a line for everything that begins, parks, rests, fails or ends in it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TextIO

from rich.console import Console
from rich.text import Text

from lash.cli.importing import Work
from lash.cli.json_output import write_json_line
from lash.cli.ps.documents import outcome_json
from lash.cli.ps.words import (
    REASON_LIMIT,
    identity_text,
    outcome_text,
    owner_text,
    parked_text,
)
from lash.cli.reading import now_ms
from lash.cli.wording import (
    agent_text,
    elapsed,
    local_time,
    one_line,
    printable,
    waits_for_text,
)
from lash.cli.wording import outcome_text as turn_outcome_text
from lash.cli.wording import parked_text as turn_parked_text
from lash.core.leases import LeaseOwner
from lash.processes.model import ProcessRecord
from lash.processes.outcomes import ProcessAbandoned, ProcessFailure
from lash.runtime.events import ProcessFaultEvent, TriggerDeliveryFailed
from lash.sessions.model import AcceptedTurn, Parked, TurnRecord
from lash.turn.outcome import Stopped

_STYLES = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "abandoned": "bold red",
}


class Report:
    """Writes lines as things happen. It is told in the middle of the work, so it never raises.

    Attributes:
        broken: Set when the lines cannot be written any more.
    """

    def __init__(self, out: TextIO, db: str, work: Work, *, as_json: bool) -> None:
        self._out = out
        self._db = db
        self._work = work
        self._console = Console(file=out, highlight=False, markup=False, emoji=False)
        self._as_json = as_json
        self._failure: OSError | None = None
        self._given_back: list[str] = []
        self._given_up: list[str] = []
        self._turns: dict[str, dict[str, AcceptedTurn]] = {}
        self._begun: set[tuple[str, str]] = set()
        self.broken = asyncio.Event()

    def check(self) -> None:
        """Raise what kept the lines from being written.

        Raises:
            OSError: The output is gone.
        """
        if self._failure is not None:
            raise self._failure

    # --- the worker itself ----------------------------------------------------------------------

    def ready(self, owner: LeaseOwner) -> None:
        """The worker works, under this name."""
        agents, processes = self._work.agents, self._work.processes
        if self._as_json:
            name = {"owner_id": owner.owner_id, "incarnation": owner.incarnation}
            self._json(
                "ready",
                {
                    "database": self._db,
                    "owner": name | {"host": owner.host},
                    "agents": [{"name": each.name, "version": each.version} for each in agents],
                    "processes": [
                        {"name": each.name, "version": each.version} for each in processes
                    ],
                },
            )
            return
        self._write(f"worker {owner_text(owner)} on {self._db}", "bold")
        for what, named in (("agents", agents), ("processes", processes)):
            names = sorted(f"{each.name} v{each.version}" for each in named)
            if names:
                self._write(f"  {what:<10} {', '.join(names)}", "dim")

    def stopping(self, *, idle: bool) -> None:
        """The worker was told to stop, or nothing can go on without the outside."""
        if self._as_json:
            self._json("stopping", {"reason": "idle" if idle else "asked"})
        elif idle:
            self._write("idle: nothing can go on without the outside", "dim")
        else:
            self._write("stopping: what runs here is given back", "dim")

    def stopped(self) -> None:
        """Nothing runs here any more."""
        if self._as_json:
            self._json("stopped", {"given_back": self._given_back, "given_up": self._given_up})
            return
        told = [f"{_processes(self._given_back)} given back"] if self._given_back else []
        told += [f"{_processes(self._given_up)} given up"] if self._given_up else []
        self._write(f"stopped{': ' if told else ''}{', '.join(told)}", "dim")

    def fault(self, event: ProcessFaultEvent) -> None:
        """Something went wrong with a process that is none of its own doing; it is tried again."""
        why = f"{one_line(event.message, REASON_LIMIT)} [{event.code}]"
        told = f"{event.process_id} · {event.operation.replace('_', ' ')} failed: {why}"
        facts: dict[str, object] = {"process_id": event.process_id, "operation": event.operation}
        self._tell("fault", told, "yellow", facts | {"code": event.code, "message": event.message})

    def delivery_failed(self, event: TriggerDeliveryFailed) -> None:
        """What an event means for a subscription cannot be started, until somebody asks for it again."""
        why = f"{one_line(event.message, REASON_LIMIT)} [{event.code}]"
        told = f"event {event.event} · subscription {event.key} · was not started: {why}"
        facts: dict[str, object] = {"delivery_id": event.delivery_id, "event": event.event}
        facts |= {"key": event.key, "code": event.code, "message": event.message}
        self._tell("delivery_failed", told, "bold red", facts)

    # --- processes ------------------------------------------------------------------------------

    def began(self, record: ProcessRecord) -> None:
        """A process is run here."""
        attempt = _attempt(record)
        told = "began" if attempt == 1 else f"began again, attempt {attempt}"
        self._process("began", record, told)

    def parked(self, record: ProcessRecord) -> None:
        """A process does not go on by itself."""
        parked = record.state.parked
        if parked is not None:
            style = "bold red" if parked.waits_for == "person" else "bold yellow"
            facts: dict[str, object] = {"code": parked.code, "message": parked.message}
            told = f"parked, {parked_text(parked)}"
            self._process("parked", record, told, style, facts | {"waits_for": parked.waits_for})

    def rests(self, record: ProcessRecord) -> None:
        """An attempt got nowhere; there will be another one."""
        retry = record.state.retry
        if retry is not None:
            at = local_time(retry.next_attempt_at_ms)
            why = f"{one_line(retry.message, REASON_LIMIT)} [{retry.code}]"
            facts: dict[str, object] = {"code": retry.code, "message": retry.message}
            facts["next_attempt_at_ms"] = retry.next_attempt_at_ms
            self._process("resting", record, f"rests until {at}: {why}", "yellow", facts)

    def ended(self, record: ProcessRecord) -> None:
        """A process came to its end."""
        outcome, state = record.outcome, record.state
        if outcome is None:
            return
        if isinstance(outcome, ProcessAbandoned) and outcome.evidence.writer == "owner_drain":
            self._given_up.append(record.process_id)
        began = state.first_started.started_at_ms if state.first_started is not None else None
        passed = None if began is None else max(0, state.updated_at_ms - began)
        after = "" if passed is None else f" after {elapsed(passed)}"
        why = outcome_text(outcome)
        told = f"{record.status}{after}{': ' if why else ''}{why}"
        facts: dict[str, object] = {"duration_ms": passed, "outcome": outcome_json(outcome)}
        if isinstance(outcome, ProcessFailure):
            facts |= {"code": outcome.code, "message": outcome.message}
        self._process("ended", record, told, _STYLES[record.status], facts)

    def given_back(self, record: ProcessRecord) -> None:
        """A process goes on in whichever worker takes it up. Told in one line, with all others."""
        self._given_back.append(record.process_id)
        if self._as_json:
            self._process("given_back", record, "given back")

    def _process(
        self,
        kind: str,
        record: ProcessRecord,
        told: str,
        style: str = "",
        facts: dict[str, object] | None = None,
    ) -> None:
        identity = record.registration.identity
        line = f"{record.process_id} · {identity_text(identity)} · {told}"
        whole: dict[str, object] = {
            "process_id": record.process_id,
            "kind": identity.kind,
            "label": identity.label,
            "name": identity.definition,
            "version": identity.version,
            "status": record.status,
            "attempt": _attempt(record),
            "waits_for": None,
            "code": None,
            "message": None,
            "next_attempt_at_ms": None,
            "duration_ms": None,
            "outcome": None,
        }
        self._tell(kind, line, style, whole | (facts or {}))

    # --- turns ----------------------------------------------------------------------------------

    def turns_taken(self, turns: Sequence[AcceptedTurn]) -> None:
        """Turns of a session are driven here, one after the other."""
        for turn in turns:
            self._turns.setdefault(turn.session_id, {})[turn.turn_id] = turn
        for session_id in {turn.session_id for turn in turns}:
            self._next_turn(session_id)

    def _next_turn(self, session_id: str) -> None:
        waiting = self._turns.get(session_id, {})
        turn = min(waiting.values(), key=lambda each: each.sequence, default=None)
        if turn is None:
            self._turns.pop(session_id, None)
        elif (session_id, turn.turn_id) not in self._begun:
            self._begun.add((session_id, turn.turn_id))
            facts: dict[str, object] = {"agent": turn.agent.name, "version": turn.agent.version}
            told = f"{agent_text(turn.agent)} · began"
            self._turn("turn_began", (session_id, turn.turn_id), told, "", facts)

    def _forget_turn(self, session_id: str, turn_id: str) -> None:
        self._turns.get(session_id, {}).pop(turn_id, None)
        self._begun.discard((session_id, turn_id))

    def turn_ended(self, record: TurnRecord) -> None:
        """A turn was committed here."""
        passed = record.timing.committed_at_ms - record.timing.accepted_at_ms
        told = f"{turn_outcome_text(record.outcome)} after {elapsed(max(passed, 0))}"
        style = "red" if isinstance(record.outcome, Stopped) else "green"
        facts: dict[str, object] = {"outcome": record.outcome, "duration_ms": passed}
        self._turn("turn_ended", (record.session_id, record.turn_id), told, style, facts)
        self._forget_turn(record.session_id, record.turn_id)
        self._next_turn(record.session_id)

    def turn_parked(self, session_id: str, turn_id: str, parked: Parked) -> None:
        """A turn does not go on by itself."""
        facts: dict[str, object] = {"code": parked.code, "message": parked.message}
        facts["waits_for"] = parked.waits_for
        told = f"parked, {waits_for_text(parked)}: {turn_parked_text(parked)}"
        self._turn("turn_parked", (session_id, turn_id), told, "bold red", facts)
        self._forget_turn(session_id, turn_id)

    def turn_restarted(self, turn: AcceptedTurn, before: str) -> None:
        """A turn was begun again from its input, under another id."""
        told = f"begun again as {turn.turn_id}"
        facts: dict[str, object] = {"restarted_as": turn.turn_id}
        self._turn("turn_restarted", (turn.session_id, before), told, "yellow", facts)
        self._forget_turn(turn.session_id, before)

    def _turn(
        self, kind: str, place: tuple[str, str], told: str, style: str, facts: dict[str, object]
    ) -> None:
        session_id, turn_id = place
        whole: dict[str, object] = {
            "session_id": session_id,
            "turn_id": turn_id,
            "agent": None,
            "version": None,
            "waits_for": None,
            "code": None,
            "message": None,
            "restarted_as": None,
            "duration_ms": None,
            "outcome": None,
        }
        line = f"turn {turn_id} of session {session_id} · {told}"
        self._tell(kind, line, style, whole | facts)

    # --- writing --------------------------------------------------------------------------------

    def _tell(self, kind: str, line: str, style: str, facts: dict[str, object]) -> None:
        if self._as_json:
            self._json(kind, facts)
        else:
            self._write(f"{local_time(now_ms())}  {line}", style)

    def _json(self, kind: str, facts: dict[str, object]) -> None:
        self._guarded(lambda: write_json_line(self._out, {"type": kind, "at_ms": now_ms()} | facts))

    def _write(self, line: str, style: str) -> None:
        def write() -> None:
            if self._console.is_terminal:
                self._console.print(Text(printable(line), style=style), soft_wrap=True)
            else:
                self._out.write(f"{printable(line)}\n")
            self._out.flush()

        self._guarded(write)

    def _guarded(self, write: Callable[[], None]) -> None:
        """Write, unless that failed before: whoever reads is gone, and the work must not suffer."""
        if self._failure is not None:
            return
        try:
            write()
        except OSError as error:
            self._failure = error
            self.broken.set()


def _attempt(record: ProcessRecord) -> int:
    return 0 if record.state.started is None else record.state.started.attempt


def _processes(ids: Sequence[str]) -> str:
    return "1 process" if len(ids) == 1 else f"{len(ids)} processes"
