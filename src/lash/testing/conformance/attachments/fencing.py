"""The fence: of a writer and a sweeper of the same content exactly one goes on."""

# ruff: noqa: D102  the name of a property says what it promises

import pytest

from lash.attachments.transitions import Condemnation, ReclamationInFlight, WriteGranted
from lash.core.errors import LashError
from lash.testing.conformance.attachments.shelf import (
    OTTO,
    WANDA,
    AttachmentProperties,
    id_of,
    intent,
    turn,
)

X = id_of("x")


class FenceProperties(AttachmentProperties):
    """`condemn`, `arm`, `release`, and what they mean to `begin_write`."""

    async def test_a_content_goes_from_free_to_condemned_to_deleting_and_back(self) -> None:
        async with self.shelf() as shelf:
            assert await shelf.manifest.condemn(X, WANDA) == "condemned"
            await shelf.interlude()
            assert list(await shelf.manifest.condemnations()) == [
                Condemnation(attachment_id=X, sweeper=WANDA, state="condemned")
            ]
            assert await shelf.manifest.arm(X, WANDA) == "armed"
            await shelf.interlude()
            assert list(await shelf.manifest.condemnations()) == [
                Condemnation(attachment_id=X, sweeper=WANDA, state="deleting")
            ]
            assert await shelf.manifest.release(X, WANDA)
            await shelf.interlude()
            assert list(await shelf.manifest.condemnations()) == []
            assert not await shelf.manifest.release(X, WANDA)

    async def test_what_somebody_refers_to_cannot_be_condemned(self) -> None:
        async with self.shelf() as shelf:
            await shelf.refer("x", turn("t1"))
            await shelf.interlude()
            assert await shelf.manifest.condemn(X, WANDA) == "root_present"
            assert list(await shelf.manifest.condemnations()) == []

    async def test_a_content_has_one_sweeper(self) -> None:
        async with self.shelf() as shelf:
            await shelf.manifest.condemn(X, WANDA)
            await shelf.interlude()
            assert await shelf.manifest.condemn(X, OTTO) == "already_condemned"
            assert await shelf.manifest.condemn(X, WANDA) == "already_condemned"
            assert await shelf.manifest.arm(X, OTTO) == "revoked"
            assert not await shelf.manifest.release(X, OTTO)
            assert await shelf.manifest.arm(X, WANDA) == "armed"

    async def test_a_writer_takes_a_condemnation_away(self) -> None:
        async with self.shelf() as shelf:
            await shelf.manifest.condemn(X, WANDA)
            await shelf.interlude()
            assert await shelf.begin(intent("x")) == WriteGranted(revoked=True)
            assert list(await shelf.manifest.condemnations()) == []
            assert await shelf.manifest.arm(X, WANDA) == "revoked"
            assert await shelf.manifest.condemn(X, WANDA) == "root_present"

    async def test_nobody_begins_to_write_what_is_being_deleted(self) -> None:
        async with self.shelf() as shelf:
            await shelf.manifest.condemn(X, WANDA)
            await shelf.manifest.arm(X, WANDA)
            await shelf.interlude()
            assert await shelf.begin(intent("x")) == ReclamationInFlight(sweeper=WANDA)
            assert not await shelf.manifest.has_root(X)
            assert await shelf.begin(intent("y")) == WriteGranted()
            await shelf.manifest.release(X, WANDA)
            assert await shelf.begin(intent("x")) == WriteGranted()

    async def test_a_deletion_is_begun_once(self) -> None:
        async with self.shelf() as shelf:
            assert await shelf.manifest.arm(X, WANDA) == "revoked"
            await shelf.manifest.condemn(X, WANDA)
            assert await shelf.manifest.arm(X, WANDA) == "armed"
            await shelf.interlude()
            assert await shelf.manifest.arm(X, WANDA) == "revoked"

    async def test_a_sweeper_that_was_revoked_does_not_free_what_a_peer_condemned(self) -> None:
        async with self.shelf() as shelf:
            await shelf.manifest.condemn(X, WANDA)
            await shelf.refer("x")  # revokes
            await shelf.manifest.forget("s", X)
            assert await shelf.manifest.condemn(X, OTTO) == "condemned"
            await shelf.interlude()
            assert await shelf.manifest.arm(X, WANDA) == "revoked"
            assert not await shelf.manifest.release(X, WANDA)
            assert await shelf.manifest.arm(X, OTTO) == "armed"

    async def test_what_is_no_id_is_not_condemned_and_not_referred_to(self) -> None:
        async with self.shelf() as shelf:
            for bad in ("../../etc/passwd", "", X.upper(), X + "0", X[:-1] + "\n"):
                with pytest.raises(LashError) as raised:
                    await shelf.manifest.condemn(bad, WANDA)
                assert raised.value.code == "attachment_id_invalid"
            assert list(await shelf.manifest.condemnations()) == []
