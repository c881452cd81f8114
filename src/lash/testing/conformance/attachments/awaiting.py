"""What accepted input shows: it must be there when the input is accepted, and stays as long as it waits."""

# ruff: noqa: D102  the name of a property says what it promises

import msgspec

from lash.attachments.model import AttachmentRef, StoredSource
from lash.sessions.accepting import AlreadyAccepted, AttachmentsMissing
from lash.sessions.ingress import EnqueueRequest, UserInput
from lash.sessions.model import AttachmentItem, TurnInput
from lash.sessions.queueing import AlreadyEnqueued, Enqueued, EnqueueRefused
from lash.testing.conformance.attachments.shelf import AttachmentProperties, Shelf, id_of, turn
from lash.testing.conformance.rig import expect
from lash.testing.conformance.samples import ANA, SUPPORT, by_id, request


def showing(*texts: str) -> TurnInput:
    """Input that shows the attachments of some texts."""
    refs = [AttachmentRef(id=id_of(each), media_type="text/plain", byte_len=1) for each in texts]
    return TurnInput(
        items=tuple(AttachmentItem(source=StoredSource(attachment_ref=ref)) for ref in refs)
    )


async def accept(shelf: Shelf, turn_id: str, *texts: str) -> object:
    """Try to accept input that shows attachments."""
    asked = msgspec.structs.replace(request(turn_id), input=showing(*texts))
    return await shelf.rig.store.accept_turn(asked)


async def enqueue(shelf: Shelf, item_id: str, *texts: str) -> object:
    """Try to queue input that shows attachments."""
    payload = UserInput(input=showing(*texts))
    asked = EnqueueRequest(session_id="s", item_id=item_id, payload=payload, agent=SUPPORT)
    return await shelf.rig.store.enqueue(asked)


class AwaitedProperties(AttachmentProperties):
    """`accept_turn` and `enqueue` of input with attachments, and `forget_aged_uncommitted` beside it."""

    async def forgotten(self, shelf: Shelf) -> int:
        """How much a sweep forgets that comes long after everything."""
        shelf.age()
        now_ms = shelf.rig.clock.now_ms()
        return await shelf.manifest.forget_aged_uncommitted(now_ms)

    async def test_input_that_shows_what_its_session_does_not_hold_is_refused(self) -> None:
        async with self.shelf() as shelf:
            await shelf.put("x")
            await shelf.put("y", session="z")
            refused = expect(AttachmentsMissing, await accept(shelf, "t1", "x", "y", "n"))
            assert refused.attachment_ids == (id_of("y"), id_of("n"))
            queued = expect(EnqueueRefused, await enqueue(shelf, "i1", "y"))
            assert queued.code == "attachment_not_found"
            await shelf.interlude()
            assert await shelf.rig.store.load_head("s") is None
            assert await shelf.rig.open_turns() == []

    async def test_input_that_was_accepted_is_known_again_without_what_it_shows(self) -> None:
        async with self.shelf() as shelf:
            await shelf.put("x")
            await accept(shelf, "t1", "x")
            expect(Enqueued, await enqueue(shelf, "i1", "x"))
            await shelf.manifest.forget("s", id_of("x"))
            await shelf.interlude()
            expect(AlreadyAccepted, await accept(shelf, "t1", "x"))
            expect(AlreadyEnqueued, await enqueue(shelf, "i1", "x"))

    async def test_what_waiting_input_shows_stays_whoever_put_it(self) -> None:
        async with self.shelf() as shelf:
            for text in ("said", "queued", "nobody's"):
                await shelf.put(text)
            await shelf.put("said", turn("gone"))
            await accept(shelf, "t1", "said")
            await enqueue(shelf, "i1", "queued")
            await shelf.put("queued", session="z")  # nobody waits for it there
            await shelf.interlude()
            assert await self.forgotten(shelf) == 2
            assert set(await shelf.held()) == {id_of("said"), id_of("queued")}
            assert await shelf.held("z") == {}

    async def test_what_was_taken_back_is_forgotten_and_what_was_committed_is_too(self) -> None:
        async with self.shelf() as shelf:
            await shelf.put("queued")
            await shelf.put("said")
            await accept(shelf, "t1", "said")
            await enqueue(shelf, "i1", "queued")
            await shelf.rig.store.cancel_items("s", [by_id("i1")])
            await shelf.interlude()
            assert await self.forgotten(shelf) == 1
            assert set(await shelf.held()) == {id_of("said")}
            # A commit that does not adopt it lets go of it.
            fence = (await shelf.rig.claim(ANA)).lease.fence
            await shelf.rig.commit("t1", fence)
            assert await self.forgotten(shelf) == 1
