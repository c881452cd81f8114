"""Answering what waits for the outside: tool calls that were deferred, waits of operations."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from lash.attachments.returned import Kept, kept_value
from lash.core.errors import LashError
from lash.core.json import to_json
from lash.core.text import spelled_out
from lash.effects.hosts import EffectHost
from lash.effects.waits.keys import key_from_text
from lash.effects.waits.model import (
    AwaitEventKey,
    ExternalCompletionError,
    Resolution,
    ResolvedCancelled,
    ResolvedErr,
    ResolvedOk,
    ResolveOutcome,
    UnknownOrRevoked,
)


class CompletionsHost(Protocol):
    """What completions need of the runtime they belong to."""

    @property
    def effects(self) -> EffectHost:
        """Where promises are kept."""
        ...


#: Stores the attachments of an answer for who waits for it.
KeepAnswer: TypeAlias = Callable[[AwaitEventKey, Kept], Awaitable[Kept]]


class Completions:
    """Resolves promises by their key, in any process over the same store.

    A key is given as `AwaitEventKey`, as its JSON, or as its token. The first resolution stands for
    ever, also one that comes before anybody waits. Unknown, forged and revoked keys are answered with
    `UnknownOrRevoked`, which does not tell them apart.
    """

    def __init__(self, host: CompletionsHost, keep: KeepAnswer | None = None) -> None:
        self._host = host
        self._keep = keep

    async def resolve(self, key: AwaitEventKey | str, value: object = None) -> ResolveOutcome:
        """Answer with a value, which must have a JSON form.

        Attachments may stand anywhere in it, as in what a tool returns; they are stored first.

        Raises:
            LashError: `value_not_json`; of attachments `attachment_not_admitted`,
                `attachment_too_large`, `attachment_not_found`, and `attachment_invalid` where no tool
                call waits.
        """
        kept = kept_value(value)
        found = _key(key)
        if kept.has_attachments and found is not None:
            kept = await self._kept(found, kept)
        answer = ResolvedOk(payload=kept.payload, has_attachments=kept.has_attachments)
        return await self._resolve(key, answer)

    async def _kept(self, key: AwaitEventKey, answer: Kept) -> Kept:
        """The answer without bytes in it. Nothing is stored for a key that is none."""
        if self._keep is None:
            raise LashError("attachment_invalid", "Attachments cannot be answered from here.")
        try:
            await self._host.effects.peek_await_event(key)
        except LashError as error:
            if error.code == "await_event_unknown_or_revoked":
                return Kept(payload=None)
            raise
        return await self._keep(key, answer)

    async def fail(
        self, key: AwaitEventKey | str, message: str, *, code: str = "external", raw: object = None
    ) -> ResolveOutcome:
        """Answer that the outside could not do its part.

        What is given as `message` and `code` is kept as text, whatever it is: a failure that cannot
        be told helps nobody.

        Raises:
            LashError: `value_not_json`, of `raw`.
        """
        error = ExternalCompletionError(
            code=spelled_out(str(code)), message=spelled_out(str(message)), raw=to_json(raw)
        )
        return await self._resolve(key, ResolvedErr(payload=error))

    async def cancel(self, key: AwaitEventKey | str) -> ResolveOutcome:
        """Answer that nobody will."""
        return await self._resolve(key, ResolvedCancelled())

    async def peek(self, key: AwaitEventKey | str) -> Resolution | None:
        """The resolution, or None while there is none.

        Raises:
            LashError: `await_event_unknown_or_revoked`.
        """
        found = _key(key)
        if found is None:
            raise LashError(
                "await_event_unknown_or_revoked",
                "This is not a key of this store; ask for a new one.",
            )
        return await self._host.effects.peek_await_event(found)

    async def _resolve(self, key: AwaitEventKey | str, resolution: Resolution) -> ResolveOutcome:
        found = _key(key)
        if found is None:
            return UnknownOrRevoked()
        return await self._host.effects.resolve_await_event(found, resolution)


def _key(given: object) -> AwaitEventKey | None:
    """The key that was given, in whatever form; what comes from outside may be anything."""
    if isinstance(given, AwaitEventKey):
        return given
    return key_from_text(given) if isinstance(given, str) else None
