"""`lash ps --watch`: processes as they change, from a process that runs none of them.

The store's change feed says what changed; each process comes once, as it is at the latest. Whether an
owner lives is no change of the store, so all of it is looked at again now and then.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json_line
from lash.cli.ps.documents import pruned_json, standing_json
from lash.cli.ps.standing import Known, Owners, Standing, known, standing
from lash.cli.ps.wanted import Wanted, processes_of
from lash.cli.ps.words import attention_text, identity_text, waits_text
from lash.cli.reading import existing_store, now_ms
from lash.cli.wording import local_time, printable
from lash.core.clock import SystemClock
from lash.effects.waits.hints import POLL_FIRST_S, POLL_MAX_S, changed_within, token_of
from lash.processes.listing import ProcessChange, Pruned
from lash.processes.model import ProcessRecord, ProcessTombstone
from lash.runtime.stores import Store

#: A process that ended is shown this long: else nobody would see how.
LINGER_MS = 10_000

#: A lease that runs out within this time is read again, in milliseconds.
_RENEWED_MS = 2_000

#: How often what is shown is made anew at most, and at least, in seconds.
_LOOK_MOST_S = 0.1
_LOOK_LEAST_S = 1.0

#: What shells report for a command ended by SIGTERM.
_TERMINATED = 143


class Screen(Protocol):
    """Shows what is watched."""

    def show(self, board: "Board") -> None:
        """Something may have changed."""
        ...


def watch(wanted: Wanted, db: str, *, as_json: bool) -> int:
    """Follow the processes of a database until Ctrl-C, which makes it 130.

    Raises:
        StoreError: The database cannot be read.
    """
    try:
        if not as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            from lash.cli.ps.watch_screen import full_screen

            with full_screen(db) as screen:
                asyncio.run(_follow(wanted, db, screen))
        else:
            asyncio.run(_follow(wanted, db, LineScreen(as_json=as_json)))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except asyncio.CancelledError:
        return _TERMINATED
    return ExitCode.DONE


async def _follow(wanted: Wanted, db: str, screen: Screen) -> None:
    task = asyncio.current_task()
    if task is not None:  # so that a terminal is left as it was found
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with existing_store(db) as store:
        board = Board(store, wanted)
        await board.begin()
        screen.show(board)
        await board.follow(screen)


@dataclass(slots=True)
class Board:
    """What is being watched.

    Attributes:
        store: The database.
        wanted: What is to be shown.
        processes: What the store's filter lets through, and what of it ended lately.
        pruned: What was pruned since the last look.
        ended: How many ended since the beginning.
    """

    store: Store
    wanted: Wanted
    processes: dict[str, Known] = field(default_factory=dict)
    pruned: list[ProcessTombstone] = field(default_factory=list)
    ended: int = 0
    began_ms: int = field(default_factory=now_ms)
    _cursor: int = 0

    async def begin(self) -> None:
        """Read what is there; the feed goes on behind it."""
        self._cursor = await self.store.change_cursor()  # before the rows: nothing is missed
        named = processes_of(self.store, self.wanted.filter(), self.wanted.names)
        async for process in named:
            self.processes[process.record.process_id] = process

    async def follow(self, screen: Screen) -> None:
        """Read what changes, for ever."""
        clock, wait, shown = SystemClock(asyncio.sleep), POLL_FIRST_S, time.monotonic()
        changed = False
        while True:
            token = await token_of(self.store)  # before the feed: nothing is missed
            page = await self.store.processes_changed_since(self._cursor, 256)
            self._cursor = page.cursor
            for change in page.changes:
                await self._take(change)
            changed = changed or bool(page.changes)
            passed = time.monotonic() - shown
            if passed >= (_LOOK_MOST_S if changed else _LOOK_LEAST_S):
                self._forget()
                await self._renew()
                screen.show(self)
                changed, shown, passed = False, time.monotonic(), 0.0
            if page.changes:
                wait = POLL_FIRST_S
                continue
            rest = _LOOK_MOST_S if changed else min(wait, _LOOK_LEAST_S - passed)
            moved = await changed_within(self.store, clock, rest, token)
            wait = POLL_FIRST_S if moved else min(wait * 2, POLL_MAX_S)

    async def _take(self, change: ProcessChange) -> None:
        if isinstance(change, Pruned):
            if self.processes.pop(change.tombstone.process_id, None) is not None:
                self.pruned.append(change.tombstone)
            return
        record = change.record
        before = self.processes.get(record.process_id)
        if before is None and not await self._enters(record):
            return
        self.ended += record.retired and (before is None or not before.record.retired)
        self.processes[record.process_id] = await known(self.store, record)

    async def _enters(self, record: ProcessRecord) -> bool:
        """Whether a process is to be watched from now on; also one that came and ended meanwhile."""
        wanted = self.wanted
        if wanted.state == "live" and record.retired:
            wanted = replace(wanted, state="any")
        return await wanted.admits(self.store, record)

    async def _renew(self) -> None:
        """Read leases again that seem to run out: to renew one is no change of a process."""
        soon = now_ms() + _RENEWED_MS
        for process in list(self.processes.values()):
            held = process.record.lease.held
            if held is None or held.expires_at_ms > soon:
                continue
            record = await self.store.load_process(process.record.process_id)
            if isinstance(record, ProcessRecord) and record.change == process.record.change:
                self.processes[record.process_id] = replace(process, record=record)

    def _forget(self) -> None:
        """Let go of what ended a while ago, unless such are what is watched."""
        if self.wanted.filter().status != "live":
            return
        latest = now_ms() - LINGER_MS
        for process in list(self.processes.values()):
            if process.record.retired and process.record.state.updated_at_ms < latest:
                del self.processes[process.record.process_id]

    def standings(self) -> list[Standing]:
        """How all of it stands now."""
        now = now_ms()
        lives = Owners(self.store, now).live
        found = (standing(process, lives, now) for process in self.processes.values())
        return [each for each in found if each.record.retired or self.wanted.shows(each)]


class LineScreen:
    """Everything that changes, on a line of its own: for pipes, logs and programs."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._told: dict[str, object] = {}

    def show(self, board: Board) -> None:
        """Tell what is not as it was told last."""
        for process in sorted(board.standings(), key=lambda each: each.record.change):
            process_id, told = process.record.process_id, self._facts(process)
            if self._told.get(process_id) != told:
                self._told[process_id] = told
                self._tell(process)
        self._tell_pruned(board.pruned)
        board.pruned.clear()
        self._drop(board.processes)

    def _facts(self, process: Standing) -> object:
        if self._as_json:
            return (process.record.change, process.state, process.holder_lives)
        return (process.state, *_words(process))

    def _tell(self, process: Standing) -> None:
        if self._as_json:
            write_json_line(sys.stdout, standing_json(process))
            return
        at = local_time(process.record.state.updated_at_ms)
        _line(at, process.record.process_id, *_words(process))

    def _tell_pruned(self, pruned: Iterable[ProcessTombstone]) -> None:
        for tombstone in pruned:
            if self._as_json:
                write_json_line(sys.stdout, pruned_json(tombstone))
            else:
                _line(local_time(tombstone.pruned_at_ms), tombstone.process_id, "pruned")

    def _drop(self, processes: Mapping[str, Known]) -> None:
        for process_id in [name for name in self._told if name not in processes]:
            del self._told[process_id]


def _words(process: Standing) -> tuple[str, ...]:
    what = identity_text(process.record.registration.identity)
    attention = attention_text(process)
    if attention is not None:
        # With the reason, and without the id: it stands in front.
        why = attention.removeprefix(f"{process.record.process_id} ")
        return (what, process.state, why)
    told = waits_text(process)
    return (what, process.state, told) if told else (what, process.state)


def _line(at: str, *parts: str) -> None:
    sys.stdout.write(f"{at}  {printable(' · '.join(parts))}\n")
    sys.stdout.flush()
