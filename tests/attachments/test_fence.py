"""The fence, tried out completely: every order of two writers, two sweepers and all their crashes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from lash.attachments.model import AttachmentMeta, TurnOwner
from lash.attachments.transitions import (
    ArmAnswer,
    AttachmentEntry,
    AttachmentIntent,
    BlobStat,
    CondemnAnswer,
    Condemnation,
    OwnerDeleted,
    OwnerState,
    ReclamationInFlight,
    Sweeper,
    WriteAnswer,
    WriteGranted,
    is_live,
    is_old,
    may_release,
    plan_arm,
    plan_condemn,
    plan_sweep,
    plan_write,
)
from lash.core.leases import LeaseOwner

X = "b" * 64
SWEEPERS = tuple(
    Sweeper(owner=LeaseOwner(owner_id=name, incarnation=name), nonce=name) for name in ("a", "b")
)


@dataclass(frozen=True)
class Rules:
    """The decisions under test, so that broken ones can be tried as well."""

    write: Callable[..., WriteAnswer] = plan_write
    condemn: Callable[..., CondemnAnswer] = plan_condemn
    arm: Callable[..., ArmAnswer] = plan_arm
    release: Callable[..., bool] = may_release


@dataclass(frozen=True)
class World:
    """One content: whether its bytes are there, who refers to it, and how far everybody is.

    A writer is `new`, then `granted`, has `put` its bytes, has `committed`, and may be `forgotten`
    after that. A sweeper is `new`, `condemned`, `armed`, `deleted`, `revoked` or at its `end`. Anybody
    may be `dead` at any time.
    """

    has_bytes: bool = True
    fence: Condemnation | None = None
    refs: frozenset[int] = frozenset()
    committed: frozenset[int] = frozenset()
    writers: tuple[str, ...] = ("new", "new")
    sweepers: tuple[str, ...] = ("new", "new")


def _at(places: tuple[str, ...], index: int, place: str) -> tuple[str, ...]:
    return (*places[:index], place, *places[index + 1 :])


def writer_steps(world: World, index: int, rules: Rules) -> Iterator[World]:
    """What a writer can do next."""

    def goes(place: str, **changes: object) -> World:
        return replace(world, writers=_at(world.writers, index, place), **changes)  # type: ignore[arg-type]  # fields of World

    place = world.writers[index]
    if place == "new":
        answer = rules.write(world.fence, session_deleted=False)
        if isinstance(answer, WriteGranted):
            yield goes("granted", refs=world.refs | {index}, fence=None)
    elif place == "granted":
        yield goes("put", has_bytes=True)
    elif place == "put":
        yield goes("committed", committed=world.committed | {index})
    elif place == "committed":
        yield goes("forgotten", refs=world.refs - {index}, committed=world.committed - {index})
    if place not in {"dead", "forgotten"}:
        yield goes("dead")
    if place == "dead" and index in world.refs - world.committed:
        yield replace(world, refs=world.refs - {index})  # a sweep forgets what the dead have begun


def sweeper_steps(world: World, index: int, rules: Rules) -> Iterator[World]:
    """What a sweeper can do next. All bytes are old to it, so that nothing but the fence protects them."""
    sweeper, place = SWEEPERS[index], world.sweepers[index]

    def goes(place: str, **changes: object) -> World:
        return replace(world, sweepers=_at(world.sweepers, index, place), **changes)  # type: ignore[arg-type]  # fields of World

    def released() -> World:
        ours = rules.release(world.fence, sweeper)
        return goes("end", fence=None if ours else world.fence)

    match place:
        case "new":
            answer = rules.condemn(world.fence, has_root=bool(world.refs))
            condemned = Condemnation(attachment_id=X, sweeper=sweeper)
            yield goes("condemned", fence=condemned) if answer == "condemned" else goes("end")
        case "condemned":
            yield released()  # the bytes were put again meanwhile, or are gone
            armed = Condemnation(attachment_id=X, sweeper=sweeper, state="deleting")
            verdict = rules.arm(world.fence, sweeper, has_root=bool(world.refs))
            yield goes("armed", fence=armed) if verdict == "armed" else goes("revoked")
        case "armed":
            yield goes("deleted", has_bytes=False)
            yield released()  # deleting failed
        case "deleted" | "revoked":
            yield released()  # one that was revoked must not, and gets nowhere when it tries
        case "end":
            yield goes("new")
        case _:
            yield from _cleared(world, sweeper)
    if place != "dead":
        yield goes("dead")


def _cleared(world: World, dead: Sweeper) -> Iterator[World]:
    """Somebody who knows that a sweeper died clears up behind it."""
    if world.fence is not None and world.fence.sweeper == dead:
        yield replace(world, fence=None)


def is_lost(world: World) -> bool:
    """Whether bytes are gone that somebody has put and refers to."""
    put = {index for index, place in enumerate(world.writers) if place in {"put", "committed"}}
    dead = {index for index, place in enumerate(world.writers) if place == "dead"}
    held = (put | (dead & world.committed)) & world.refs
    return bool(held) and not world.has_bytes


def explore(rules: Rules) -> tuple[int, World | None]:
    """Every world that can be reached; how many there are, and one in which something is lost."""
    start = World()
    seen, ahead = {start}, [start]
    while ahead:
        world = ahead.pop()
        if is_lost(world):
            return len(seen), world
        for index in (0, 1):
            for steps in (writer_steps, sweeper_steps):
                for after in steps(world, index, rules):
                    if after not in seen:
                        seen.add(after)
                        ahead.append(after)
    return len(seen), None


def test_bytes_that_somebody_has_put_and_refers_to_are_never_lost() -> None:
    count, lost = explore(Rules())
    assert lost is None
    assert count > 1000  # it was really explored


def _write_anyway(fence: Condemnation | None, **_: object) -> WriteAnswer:
    return WriteGranted(revoked=fence is not None)


def _condemn_anyway(fence: Condemnation | None, **_: object) -> CondemnAnswer:
    return "condemned" if fence is None else "already_condemned"


def _condemn_without_both(*_: object, **__: object) -> CondemnAnswer:
    return "condemned"


def _arm_anyway(*_: object, **__: object) -> ArmAnswer:
    return "armed"


def _arm_whoever_condemned(fence: Condemnation | None, _: Sweeper, *, has_root: bool) -> ArmAnswer:
    return "armed" if fence is not None and not has_root else "revoked"


def _release_anyway(*_: object) -> bool:
    return True


@pytest.mark.parametrize(
    "broken",
    [
        Rules(write=_write_anyway),
        Rules(arm=_arm_anyway),
        Rules(arm=_arm_whoever_condemned),
        Rules(release=_release_anyway),
        Rules(condemn=_condemn_anyway, arm=_arm_anyway),
        Rules(condemn=_condemn_without_both),
    ],
    ids=["write", "arm", "arm for others", "release", "condemn and arm", "condemn"],
)
def test_the_exploration_finds_what_is_lost_when_a_rule_is_broken(broken: Rules) -> None:
    _, lost = explore(broken)
    assert lost is not None


# --- the decisions, one by one ----------------------------------------------------------------------

A, B = SWEEPERS
CONDEMNED = Condemnation(attachment_id=X, sweeper=A)
DELETING = Condemnation(attachment_id=X, sweeper=A, state="deleting")


def test_a_write_is_granted_unless_the_content_is_being_deleted() -> None:
    assert plan_write(None, session_deleted=False) == WriteGranted(revoked=False)
    assert plan_write(CONDEMNED, session_deleted=False) == WriteGranted(revoked=True)
    assert plan_write(DELETING, session_deleted=False) == ReclamationInFlight(sweeper=A)
    assert plan_write(None, session_deleted=True) == OwnerDeleted()
    assert plan_write(DELETING, session_deleted=True) == OwnerDeleted()


def test_what_has_references_is_not_condemned_and_what_is_condemned_not_again() -> None:
    assert plan_condemn(None, has_root=False) == "condemned"
    assert plan_condemn(None, has_root=True) == "root_present"
    assert plan_condemn(CONDEMNED, has_root=False) == "already_condemned"
    assert plan_condemn(DELETING, has_root=True) == "root_present"


def test_only_the_condemner_arms_and_only_once() -> None:
    assert plan_arm(CONDEMNED, A, has_root=False) == "armed"
    assert plan_arm(CONDEMNED, A, has_root=True) == "revoked"
    assert plan_arm(CONDEMNED, B, has_root=False) == "revoked"
    assert plan_arm(DELETING, A, has_root=False) == "revoked"
    assert plan_arm(None, A, has_root=False) == "revoked"


def test_only_its_own_fence_is_a_sweepers_to_remove() -> None:
    assert may_release(CONDEMNED, A)
    assert may_release(DELETING, A)
    assert not may_release(DELETING, B)
    assert not may_release(None, A)


INTENT = AttachmentIntent(
    session_id="s",
    attachment_id=X,
    meta=AttachmentMeta(media_type="text/plain", byte_len=1),
    owner=TurnOwner(turn_id="t"),
)


@pytest.mark.parametrize(
    ("owner", "aged", "lives"),
    [
        ("nobody", False, True),
        ("nobody", True, False),
        ("under_way", True, True),
        ("unknown", True, True),
        ("over", False, True),
        ("over", True, False),
        ("gone", False, True),
        ("gone", True, False),
    ],
)
def test_an_uncommitted_reference_dies_of_age_and_a_dead_owner_together(
    owner: OwnerState, aged: bool, lives: bool
) -> None:
    entry = AttachmentEntry(intent=INTENT, intent_at_ms=100)
    assert is_live(entry, owner, 100 if aged else 99) is lives
    committed = AttachmentEntry(intent=INTENT, intent_at_ms=100, committed_at_ms=100)
    assert is_live(committed, owner, 10_000)


def _blob(attachment_id: str, at_ms: int | None) -> BlobStat:
    return BlobStat(attachment_id=attachment_id, last_modified_ms=at_ms)


def test_a_sweep_takes_what_is_old_and_unreferred_to() -> None:
    blobs = (_blob("old", 5), _blob("new", 11), _blob("used", 5), _blob("timeless", None))
    plan = plan_sweep(blobs, frozenset({"used"}), 10, allow_empty=False)
    assert [blob.attachment_id for blob in plan.candidates] == ["old", "timeless"]
    assert is_old(_blob("x", 10), 10)
    assert not is_old(_blob("x", 11), 10)


def test_without_any_reference_nothing_goes_unless_that_is_allowed() -> None:
    old, new = (_blob("old", 5),), (_blob("new", 11),)
    assert plan_sweep(old, frozenset(), 10, allow_empty=False).refused == "attachment_roots_empty"
    assert plan_sweep(old, frozenset(), 10, allow_empty=True).candidates == old
    assert plan_sweep(new, frozenset(), 10, allow_empty=False).refused is None
    assert plan_sweep(old, None, 10, allow_empty=True).refused == "attachment_roots_unreadable"
    assert plan_sweep(new, None, 10, allow_empty=True).refused == "attachment_roots_unreadable"
    assert plan_sweep((), None, 10, allow_empty=False).refused is None
