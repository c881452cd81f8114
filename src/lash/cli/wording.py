"""How values read in a terminal: short, in words, and free of control characters."""

from datetime import UTC, datetime

from lash.core.cancel import Cancellation
from lash.core.json import JsonObject, canonical
from lash.llm.usage import Usage
from lash.sessions.model import (
    AgentRef,
    ChildSession,
    ForkedSession,
    Parked,
    SessionRelation,
    ToolCallRecord,
)
from lash.sessions.tools import SessionToolState
from lash.turn.outcome import Stopped, TurnIssue, TurnOutcome

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS

#: Longer arguments are cut in a transcript; `--json` has them whole.
_ARGUMENTS_LIMIT = 200

#: What a model or a tool says must not move the cursor, set colours or ring the bell.
_UNPRINTABLE = {
    code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}


def printable(text: str) -> str:
    """Text without control characters, line ends and tabs excepted."""
    return text.translate(_UNPRINTABLE)


def one_line(text: str, limit: int = _ARGUMENTS_LIMIT) -> str:
    """Text on a single line, cut where it gets too long."""
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def elapsed(ms: float) -> str:
    """A duration: `12 ms`, `1.4 s`, `2 min 5 s`, `3 h 20 min`, `2 days 3 h`."""
    if round(ms) < 1_000:
        return f"{round(ms)} ms"
    if ms < _MINUTE_MS:
        return f"{ms / 1_000:.1f} s"
    if ms < _HOUR_MS:
        return f"{int(ms // _MINUTE_MS)} min {int(ms % _MINUTE_MS // 1_000)} s"
    if ms < _DAY_MS:
        return f"{int(ms // _HOUR_MS)} h {int(ms % _HOUR_MS // _MINUTE_MS)} min"
    return f"{counted(int(ms // _DAY_MS), 'day')} {int(ms % _DAY_MS // _HOUR_MS)} h"


def local_time(ms: int) -> str:
    """A moment in the machine's own time zone: `2026-07-01 12:30:05`."""
    try:
        return f"{datetime.fromtimestamp(ms / 1_000, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):  # deadlines may lie beyond every calendar
        return "the distant future" if ms > 0 else "the distant past"


def until(deadline_at_ms: int | None) -> str:
    """How long a wait lasts: ` until 2026-07-01 12:30:05`, or nothing when it has no end."""
    return "" if deadline_at_ms is None else f" until {local_time(deadline_at_ms)}"


def size_text(size: int) -> str:
    """A number of bytes: `385 B`, `1.4 kB`, `2.0 MB`."""
    if size < 1_000:
        return f"{size} B"
    if size < 999_950:  # which would be told as 1000.0 kB
        return f"{size / 1_000:.1f} kB"
    return f"{size / 1_000_000:.1f} MB"


def age(ms: float) -> str:
    """A length of time in its largest unit: `5 s`, `5 min`, `3 h`, `3 days`."""
    if ms < _MINUTE_MS:
        return f"{int(max(ms, 0) // 1_000)} s"
    if ms < _HOUR_MS:
        return f"{int(ms // _MINUTE_MS)} min"
    if ms < _DAY_MS:
        return f"{int(ms // _HOUR_MS)} h"
    return counted(int(ms // _DAY_MS), "day")


def ago(then_ms: int, now_ms: int) -> str:
    """How long ago something was: `just now`, `5 min ago`, `3 days ago`."""
    passed = now_ms - then_ms
    if passed < 5_000:  # also when another machine's clock is a little ahead
        return "just now"
    return f"{age(passed)} ago"


def counted(number: int, noun: str) -> str:
    """`1 turn`, `2 turns`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def usage_text(usage: Usage) -> str:
    """Tokens: `20 in · 10 out`, with what came from the cache and what was thought."""
    parts = [f"{usage.prompt_tokens} in", f"{usage.output_tokens} out"]
    if usage.cache_read_input_tokens:
        parts.append(f"{usage.cache_read_input_tokens} from cache")
    if usage.reasoning_output_tokens:
        parts.append(f"{usage.reasoning_output_tokens} reasoning")
    return " · ".join(parts)


def agent_text(agent: AgentRef) -> str:
    """An agent with its version: `support v1`."""
    return f"{agent.name} v{agent.version}"


def relation_text(relation: SessionRelation) -> str:
    """Where a session comes from; "" for one that began by itself."""
    match relation:
        case ForkedSession(session_id=source, node_id=node_id):
            return f"a fork of {source}" + (f" at {node_id}" if node_id is not None else "")
        case ChildSession(parent_session_id=parent, turn_id=turn_id):
            return f"a child of {parent}, begun in turn {turn_id}"
        case _:
            return ""


def tools_text(said: SessionToolState) -> str:
    """What a session says about its tools; "" for one that has those of its agent."""
    wanted = [tool_id for tool_id, mark in sorted(said.marks.items()) if mark.member]
    out = [tool_id for tool_id, mark in sorted(said.marks.items()) if not mark.member]
    parts = [
        *([f"only {', '.join(wanted) or 'none'}"] if not said.others else []),
        *([f"with {', '.join(wanted)}"] if said.others and wanted else []),
        *([f"without {', '.join(out)}"] if said.others and out else []),
        *([f"never {', '.join(said.hidden)}"] if said.hidden else []),
    ]
    return f"tools: {'; '.join(parts)}" if parts else ""


def outcome_text(outcome: TurnOutcome) -> str:
    """How a turn ended: `finished`, or `stopped (provider_error)`."""
    status = str(outcome.__struct_config__.tag)
    if isinstance(outcome, Stopped):
        return f"{status} ({outcome.reason.__struct_config__.tag})"
    return status.replace("_", " ")


def cancelled_text(cancellation: Cancellation) -> str:
    """Who stopped a turn, and why: `by lash cancel: too slow`."""
    why = f": {one_line(cancellation.reason)}" if cancellation.reason else ""
    return f"by {one_line(cancellation.origin or 'somebody')}{why}"


def parked_text(parked: Parked) -> str:
    """Why a turn does not go on by itself, with its code."""
    return f"{parked.message} [{parked.code}]"


def waits_for_text(parked: Parked) -> str:
    """Whom a parked turn waits for."""
    if parked.waits_for == "agent":
        return "waits for a runtime that has its agent"
    return "needs a person"


def issue_text(issue: TurnIssue) -> str:
    """What went wrong, with its code."""
    code = f" [{issue.code}]" if issue.code else ""
    return f"{one_line(issue.message, 600)}{code}"


def tool_line(call: ToolCallRecord) -> str:
    """A tool call that was answered: `lookup_order · ok · 12 ms`."""
    status = str(call.output.outcome.__struct_config__.tag)
    words = [call.tool, "ok" if status == "success" else status, elapsed(call.duration_ms)]
    if call.attempts > 1:
        words.append(f"{call.attempts} attempts")
    return " · ".join(one_line(word) for word in words)


def arguments_text(args: JsonObject) -> str:
    """Arguments as one would write them: `order_id="7", fast=true`."""
    return one_line(
        ", ".join(f"{name}={canonical(value).decode()}" for name, value in args.items())
    )
