"""Sets of subscriptions that are declared as a whole, and changes of whichever revision stands."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

from lash.testing.conformance.rig import expect
from lash.testing.conformance.triggers.board import (
    APP,
    DESK,
    HOST,
    SAY,
    TriggerProperties,
    draft,
)
from lash.triggers.commands import (
    Declare,
    Declared,
    Delete,
    Disable,
    Enable,
    Revive,
    TriggerCommand,
    Update,
)
from lash.triggers.listing import SubscriptionFilter
from lash.triggers.model import Subscription, SubscriptionDraft


def declaration(*drafts: SubscriptionDraft, others: tuple[str, ...] = ()) -> Declare:
    """The command that has an owner's subscriptions be these."""
    return Declare(owner=DESK, actor=HOST, drafts=drafts, others=others)


class DeclareProperties(TriggerProperties):
    """`Declare`, and `expected_revision` of None."""

    async def test_a_declared_set_is_one_write_that_tells_what_became_of_each(self) -> None:
        async with self.board() as board:
            for key in ("same", "other", "gone"):
                await board.register(key, owner=DESK)
            await board.register("theirs", owner=APP)
            await board.disable("same", owner=DESK)
            board.later()
            command = declaration(
                draft("new"), draft("other", target=SAY), draft("same"), others=("gone", "never")
            )
            said = expect(Declared, await board.do(command))
            await board.interlude()
            assert said == Declared(
                created=("new",), unchanged=("same",), changed=("other",), orphaned=("gone",)
            )
            found = await board.triggers.list_subscriptions(SubscriptionFilter(owner=DESK))
            assert [(each.key, each.membership, each.revision, each.enabled) for each in found] == [
                ("gone", "orphaned", 1, True),
                ("new", "declared", 1, True),
                ("other", "declared", 2, True),
                ("same", "declared", 2, False),
            ]
            assert (await board.found("theirs")).membership == "unknown"
            async with board.untouched():
                again = expect(Declared, await board.do(command))
            assert again == Declared(unchanged=("new", "other", "same"), orphaned=("gone",))

    async def test_what_was_deleted_is_not_declared_into_being(self) -> None:
        async with self.board() as board:
            await board.register("k", owner=DESK)
            await board.delete("k", owner=DESK)
            async with board.untouched():
                said = expect(Declared, await board.do(declaration(draft("k"))))
            assert said == Declared(deleted=("k",))

    async def test_of_many_who_declare_the_same_at_once_one_creates(self) -> None:
        async with self.board() as board:
            command = declaration(draft("a"), draft("b"))
            outcomes = await asyncio.gather(*(board.do(command) for _ in range(8)))
            said = sorted(
                (expect(Declared, each) for each in outcomes), key=lambda each: each.unchanged
            )
            assert said == [
                Declared(created=("a", "b")),
                *[Declared(unchanged=("a", "b"))] * 7,
            ]

    async def test_without_a_revision_whichever_stands_is_changed(self) -> None:
        async with self.board() as board:
            await board.register()
            commands: tuple[TriggerCommand, ...] = (
                Update(owner=APP, actor=HOST, key="k", draft=draft(), expected_revision=None),
                Disable(owner=APP, actor=HOST, key="k", expected_revision=None),
                Enable(owner=APP, actor=HOST, key="k", expected_revision=None),
                Delete(owner=APP, actor=HOST, key="k", expected_revision=None),
                Revive(owner=APP, actor=HOST, key="k", draft=draft(), expected_revision=None),
            )
            for revision, command in enumerate(commands, 2):
                operation = f"op-{revision}"
                receipt = await board.done(command, operation)
                await board.interlude()
                assert receipt.revision == revision
                async with board.untouched():
                    assert await board.done(command, operation) == receipt
            assert expect(Subscription, await board.found()).revision == 6
