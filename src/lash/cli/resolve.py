"""`lash resolve`: answers what waits for the outside, such as a tool call that was deferred."""

import asyncio
import sys
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from lash.app.completions import Completions
from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json
from lash.cli.output import note
from lash.cli.reading import existing_store
from lash.core.clock import SystemClock
from lash.core.errors import ConfigurationError
from lash.effects.hosts import EffectHost, StoreEffectHost
from lash.effects.waits.model import (
    AlreadyResolved,
    ResolveAccepted,
    ResolveOutcome,
)

TakenAs: TypeAlias = Literal["json", "text", "nothing"]

#: Given instead of a key, it is read from stdin, and stands in no shell history and no process list.
STDIN = "-"
_DEFAULT_CODE = "external"


@dataclass(frozen=True, slots=True)
class ResolveRequest:
    """What the command line asked for; None where it said nothing."""

    key: str
    db: str
    value: str | None
    error: str | None
    code: str | None
    cancel: bool
    as_json: bool

    def __repr__(self) -> str:
        return "ResolveRequest(key=<hidden>)"


@dataclass(frozen=True, slots=True)
class _Host:
    effects: EffectHost


def resolve(request: ResolveRequest) -> int:
    """Answer a promise; 0 when this answer stands, 1 when another does or the key names nothing.

    Raises:
        ConfigurationError: `usage_invalid`.
        LashError: `value_not_json`.
    """
    _check(request)
    value, taken_as = read_value(request.value)
    key = _read_key() if request.key == STDIN else request.key
    outcome = asyncio.run(_resolve(request, key, value))
    if request.as_json:
        write_json(_document(request, outcome, taken_as))
    else:
        _print(request, outcome, taken_as)
    return ExitCode.DONE if isinstance(outcome, ResolveAccepted) else ExitCode.FAILED


def read_value(text: str | None) -> tuple[object, TakenAs]:
    """A value as it was meant: JSON if it is JSON, else the text itself."""
    if text is None:
        return None, "nothing"
    try:
        return msgspec.json.decode(text), "json"
    except (msgspec.MsgspecError, RecursionError):
        return text, "text"


async def _resolve(request: ResolveRequest, key: str, value: object) -> ResolveOutcome:
    async with existing_store(request.db) as store:
        host = StoreEffectHost(store, SystemClock(asyncio.sleep))
        try:
            completions = Completions(_Host(host))
            if request.cancel:
                return await completions.cancel(key)
            if request.error is not None:
                return await completions.fail(
                    key, request.error, code=request.code or _DEFAULT_CODE
                )
            return await completions.resolve(key, value)
        finally:
            await host.aclose()


def _check(request: ResolveRequest) -> None:
    answers = [request.value is not None, request.error is not None, request.cancel]
    if sum(answers) > 1:
        raise ConfigurationError(
            "usage_invalid",
            "Answer with a VALUE, with --error or with --cancel, not with several; nothing was sent.",
        )
    if request.code is not None and request.error is None:
        raise ConfigurationError("usage_invalid", "--code goes with --error; nothing was sent.")


def _read_key() -> str:
    if sys.stdin is None:
        raise ConfigurationError("usage_invalid", "There is no stdin to read the key from.")
    if sys.stdin.isatty():
        note("Paste the key, then end the input with Ctrl-D:")
    try:
        key = sys.stdin.read()
    except UnicodeDecodeError:
        return "?"  # no key reads like that: it is answered like any other that names nothing
    if not key.strip():
        raise ConfigurationError("usage_invalid", "There was no key on stdin.")
    return key


def _document(
    request: ResolveRequest, outcome: ResolveOutcome, taken_as: TakenAs
) -> dict[str, object]:
    return {
        "status": str(outcome.__struct_config__.tag),
        "stands": _stands(request, outcome),
        "taken_as": taken_as if _answers_with_value(request) else None,
    }


def _stands(request: ResolveRequest, outcome: ResolveOutcome) -> str | None:
    """The status of the resolution that counts, and never what is in it."""
    match outcome:
        case ResolveAccepted():
            if request.cancel:
                return "cancelled"
            return "ok" if request.error is None else "err"
        case AlreadyResolved(terminal=terminal):
            return str(terminal.__struct_config__.tag)
        case _:
            return None


def _answers_with_value(request: ResolveRequest) -> bool:
    return request.error is None and not request.cancel


_TAKEN = {"json": "a value, taken as JSON", "text": "a value, taken as text", "nothing": "null"}


def _print(request: ResolveRequest, outcome: ResolveOutcome, taken_as: TakenAs) -> None:
    match outcome:
        case ResolveAccepted():
            given = _TAKEN[taken_as]
            if not _answers_with_value(request):
                given = "a cancellation" if request.cancel else "an error"
            told = f"accepted: the answer is {given}. Whoever drives the work goes on with it."
        case AlreadyResolved():
            status = _stands(request, outcome)
            told = f"already resolved ({status}): that stands, and this answer changed nothing."
        case _:
            told = (
                "unknown or revoked: the key names nothing that waits in this database. Nothing was "
                "written."
            )
    sys.stdout.write(f"{told}\n")
