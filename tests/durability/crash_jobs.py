"""What the workers of the crash matrices have in common: jobs, each done in a process forked for it.

A worker reads a job as a JSON line, forks a process for it, waits for its end and says how it ended:

    {"scenario", "mode", "folder", "label", "kill": [POINT, NTH] or null}

Having everything imported once makes a process cost milliseconds. What a process found it leaves as
JSON in the folder.
"""

import asyncio
import gc
import json
import os
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from crash_stage import Order, Other, Stage
from forked import forked

import lash
from lash.app.results import HistoryMessage
from lash.turn.outcome import AgentFrameSwitch, AssistantMessage, Cancelled, Finished

Job = dict[str, Any]


def kill_of(job: Job) -> tuple[str, int] | None:
    """Where the process dies, if it does."""
    return tuple(job["kill"]) if job["kill"] else None


def other_on(stage: Stage, act: Callable[[Order], Coroutine[Any, Any, None]]) -> Other:
    """Another process, which does on `stage` what it is asked to, each time in a loop of its own."""

    def do(order: Order) -> Sequence[str]:
        before = len(stage.trace)
        asyncio.run(act(order))
        return stage.trace[before:]

    return Other(do)


def leave(job: Job, facts: Mapping[str, Any], other: Other | None) -> None:
    """Leave what was found, and how the other process ended."""
    ended = {} if other is None else {"other": other.close()}
    (Path(job["folder"]) / f"{job['label']}.json").write_text(json.dumps({**facts, **ended}))


def _done(job: Job, perform: Callable[[Job], None]) -> int:
    """Do a job in a process of its own; how that ended."""

    def body() -> None:
        path = Path(job["folder"]) / f"{job['label']}.err"
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        perform(job)

    return os.waitstatus_to_exitcode(os.waitpid(forked(body), 0)[1])


def _empty_database() -> bytes:
    """A database that was opened once: making the tables anew would take most of a scene's time."""

    async def opened(path: Path) -> None:
        async with lash.Runtime(path):
            pass

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        # What opens a database has threads, and this process is to have none.
        os.waitpid(forked(lambda: asyncio.run(opened(path))), 0)
        return path.read_bytes()


def serve(perform: Callable[[Job], None]) -> None:
    """Do the jobs that are asked for, until no more come."""
    empty = _empty_database()
    gc.freeze()  # what every process shares is not looked through in each of them
    for line in sys.stdin:
        job = json.loads(line)
        database = Path(job["folder"]) / "agents.db"
        if not database.exists():
            database.write_bytes(empty)
        print(_done(job, perform), flush=True)


# --- what is found, in a few words ----------------------------------------------------------------------------


def ending(turn: lash.TurnResult) -> str:
    """How a turn ended."""
    match turn.outcome:
        case Finished(result=AssistantMessage(text=text)):
            return text
        case AgentFrameSwitch(frame_id=frame_id, task=task):
            return f"{task} in {frame_id}"
        case lash.Stopped(reason=Cancelled()) if turn.cancellation is not None:
            return f"stopped by {turn.cancellation.origin}"
        case outcome:
            return repr(outcome)


def said(message: HistoryMessage) -> str:
    """A message."""
    calls = [f"[{call.tool}]" for call in message.tool_calls]
    results = [f"<{result.tool}: {result.text}>" for result in message.tool_results]
    words = [f"{message.role}:", *filter(None, [message.text]), *calls, *results]
    return " ".join(words).replace("\n\n", " ").replace("\n", " ")
