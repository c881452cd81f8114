"""Keys that were tampered with: one answer to all of them, and nothing comes into being by asking."""

# ruff: noqa: D102  the name of a property says what it promises

from collections.abc import Callable, Mapping

import msgspec
import pytest

from lash.core.errors import LashError
from lash.core.scopes import ProcessScope, TurnScope
from lash.effects import executors
from lash.effects.commands import AwaitEventCommand, PeekAwaitEventCommand
from lash.effects.waits.model import (
    AwaitEventKey,
    CustomWait,
    ProcessSignalWait,
    ResolveAccepted,
    ToolCompletionWait,
    UnknownOrRevoked,
)
from lash.testing.conformance.hosts.asking import envelope
from lash.testing.conformance.hosts.ending import refusals
from lash.testing.conformance.hosts.hosting import HostProperties, HostRig, S
from lash.testing.conformance.hosts.promising import PROCESS, TURN, cancelled
from lash.testing.conformance.samples import YES

_OTHER_SESSION = TurnScope(session_id="other", turn_id="t1")


def _flipped(text: str) -> str:
    """Another last character."""
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def _changed(**fields: object) -> Callable[[AwaitEventKey, AwaitEventKey], AwaitEventKey]:
    return lambda key, _: msgspec.structs.replace(key, **fields)


#: What an attacker may do with a key, holding another one that is genuine.
TAMPERED: Mapping[str, Callable[[AwaitEventKey, AwaitEventKey], AwaitEventKey]] = {
    "signature flipped": lambda key, _: msgspec.structs.replace(
        key, signature=_flipped(key.signature)
    ),
    "signature in capitals": lambda key, _: msgspec.structs.replace(
        key, signature=key.signature.upper() + "G"
    ),
    "signature cut": lambda key, _: msgspec.structs.replace(key, signature=key.signature[:-1]),
    "signature blank": _changed(signature=""),
    "signature not ascii": _changed(signature="é☃"),
    "signature of another key": lambda key, other: msgspec.structs.replace(
        key, signature=other.signature
    ),
    "key id flipped": lambda key, _: msgspec.structs.replace(key, key_id=_flipped(key.key_id)),
    "key id blank": _changed(key_id=""),
    "key id of another key": lambda key, other: msgspec.structs.replace(key, key_id=other.key_id),
    "key id and signature of another key": lambda key, other: msgspec.structs.replace(
        key, key_id=other.key_id, signature=other.signature
    ),
    "another turn": _changed(scope=TurnScope(session_id="s", turn_id="t2")),
    "another session": _changed(scope=_OTHER_SESSION),
    "another kind of scope": _changed(scope=ProcessScope(process_id="t1")),
    "a blank scope": _changed(scope=TurnScope(session_id="", turn_id="")),
    "another call": _changed(wait=ToolCompletionWait(tool_call_id="c2")),
    "another kind of wait": _changed(wait=CustomWait(key="c1")),
    "an impossible wait": _changed(
        wait=ProcessSignalWait(process_id="p", signal_name="go", ordinal=2**70)
    ),
    "a wait that is no text": _changed(wait=CustomWait(key="\ud800")),
}


class ForgeryProperties(HostProperties[S]):
    """What a host makes of keys it did not mint."""

    @pytest.mark.parametrize("how", TAMPERED)
    async def test_a_key_that_was_tampered_with_does_nothing(self, how: str) -> None:
        async with self.rig() as rig:
            genuine = await rig.key(ToolCompletionWait(tool_call_id="c1"), TURN)
            other = await rig.key(ToolCompletionWait(tool_call_id="c2"), _OTHER_SESSION)
            forged = TAMPERED[how](genuine, other)
            assert forged not in (genuine, other)
            await self._refused_everywhere(rig, forged)
            await rig.interlude()
            # Nothing came into being: nobody waits, and whoever is meant may still be answered.
            for session in ("s", "other"):
                assert await rig.host.cancel_await_events_for_session(session) == 0
            for key in await self._meant(rig):
                assert await rig.host.peek_await_event(key) is None
                assert await rig.host.resolve_await_event(key, YES) == ResolveAccepted()

    @pytest.mark.parametrize("how", TAMPERED)
    async def test_a_tampered_key_finds_nothing_out_about_a_resolved_one(self, how: str) -> None:
        async with self.rig() as rig:
            genuine = await rig.key(ToolCompletionWait(tool_call_id="c1"), TURN)
            other = await rig.key(ToolCompletionWait(tool_call_id="c2"), _OTHER_SESSION)
            for key in await self._meant(rig):
                await rig.host.resolve_await_event(key, YES)
            await self._refused_everywhere(rig, TAMPERED[how](genuine, other))

    async def test_forged_revoked_and_foreign_keys_are_refused_in_the_same_words(self) -> None:
        async with self.rig() as rig:
            genuine = await rig.key(ToolCompletionWait(tool_call_id="c1"), TURN)
            process = await rig.key("approval", PROCESS)
            elsewhere = await self._foreign_key(rig)
            forged = msgspec.structs.replace(process, signature=_flipped(process.signature))
            await rig.host.revoke_await_events_for_session("s")
            words: set[str] = set()
            for key in (genuine, forged, elsewhere):
                assert await rig.host.resolve_await_event(key, YES) == UnknownOrRevoked()
                words |= await refusals(rig, key)
            assert len(words) == 1
            (word,) = words
            for secret in (genuine.signature, forged.signature, process.key_id):
                assert secret not in word

    async def test_another_substrates_key_is_none(self) -> None:
        async with self.rig() as rig:
            elsewhere = await self._foreign_key(rig)
            mine = await rig.key("approval", PROCESS)
            assert elsewhere.signature != mine.signature
            await self._refused_everywhere(rig, elsewhere)
            assert await rig.host.peek_await_event(mine) is None

    async def test_effects_on_a_forged_key_are_refused_and_leave_nothing_behind(self) -> None:
        async with self.rig() as rig:
            genuine = await rig.key("approval")
            forged = msgspec.structs.replace(genuine, signature=_flipped(genuine.signature))
            drive = rig.drive()
            for command in (AwaitEventCommand(key=forged), PeekAwaitEventCommand(key=forged)):
                asked = envelope(command, "e1")
                with pytest.raises(LashError) as refused:
                    await rig.passing(drive.execute(asked, executors.awaiting()))
                assert refused.value.code == "await_event_unknown_or_revoked"
            assert list(drive.deferred()) == []
            await rig.interlude()
            # The key is free for the effect that was meant, which has another kind.
            await rig.host.resolve_await_event(genuine, YES)
            asked = envelope(AwaitEventCommand(key=genuine), "e1")
            outcome = await rig.passing(rig.drive().execute(asked, executors.awaiting()))
            assert msgspec.to_builtins(outcome)["resolution"]["status"] == "ok"

    async def _refused_everywhere(self, rig: HostRig[S], key: AwaitEventKey) -> None:
        assert await rig.host.resolve_await_event(key, YES) == UnknownOrRevoked()
        assert len(await refusals(rig, key)) == 1
        # A forged key neither parks its waiter nor is it given up like a genuine one.
        past = rig.clock.now_ms() - 1
        with pytest.raises(LashError) as refused:
            await rig.wait(key, cancel=cancelled(), deadline_at_ms=past)
        assert refused.value.code == "await_event_unknown_or_revoked"

    async def _meant(self, rig: HostRig[S]) -> list[AwaitEventKey]:
        """The genuine keys of everything that a tampered key names."""
        return [
            await rig.key(ToolCompletionWait(tool_call_id="c1"), TURN),
            await rig.key(ToolCompletionWait(tool_call_id="c2"), TURN),
            await rig.key(CustomWait(key="c1"), TURN),
            await rig.key(ToolCompletionWait(tool_call_id="c1"), _OTHER_SESSION),
            await rig.key(ToolCompletionWait(tool_call_id="c2"), _OTHER_SESSION),
            await rig.key(
                ToolCompletionWait(tool_call_id="c1"), TurnScope(session_id="s", turn_id="t2")
            ),
            await rig.key(ToolCompletionWait(tool_call_id="c1"), ProcessScope(process_id="t1")),
        ]

    async def _foreign_key(self, rig: HostRig[S]) -> AwaitEventKey:
        """The key of the same wait in another substrate."""
        host = await self.open_host(await self.make_substrate(rig.clock), rig.clock)
        try:
            return await host.await_event_key(PROCESS, CustomWait(key="approval"))
        finally:
            await self.close_host(host)
