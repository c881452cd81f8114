"""What the properties of effect hosts stand on: the class to subclass, and a host with short ways to use it.

A *substrate* is what outlives a host object: a path, a database, a store. Hosts are opened over it as
often as a property likes, at the same time or one after another, as processes would open them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

import pytest

from lash.core.cancel import CancelToken
from lash.core.leases import LeaseOwner
from lash.core.scopes import ExecutionScope
from lash.effects.controller import EffectController
from lash.effects.hosts import EffectHost
from lash.effects.journal import Authority, WriteAuthority
from lash.effects.waits.model import AwaitEventKey, AwaitEventWaitIdentity, CustomWait, Resolution
from lash.testing.clock import VirtualClock
from lash.testing.conformance.hosts.asking import OPERATION
from lash.testing.conformance.hosts.timing import while_time_passes
from lash.testing.conformance.samples import ANA

S = TypeVar("S")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])

HostPromise: TypeAlias = Literal["journals", "durable", "fences", "cold_instances"]

_WITHOUT: dict[HostPromise, str] = {
    "journals": "it records no effects (journals = False)",
    "durable": "its substrate dies with the process (durable = False)",
    "fences": "its writes present no fence (fences = False)",
    "cold_instances": "there is one host object to a substrate (cold_instances = False)",
}


_UNPAUSED: set[Callable[..., object]] = set()


def unpaused(test: F) -> F:
    """Marks a property that never pauses, so that nothing is learnt from running it twice."""
    _UNPAUSED.add(test)
    return test


class HostRig(Generic[S]):
    """A substrate, a clock, and the hosts that were opened over them.

    Args:
        suite: How hosts are opened and closed.
        substrate: What they are opened over.
        clock: The clock they tell the time by.
        reopens: Whether `interlude` puts a fresh host in the place of the one before.
    """

    def __init__(
        self, suite: "HostProperties[S]", substrate: S, clock: VirtualClock, *, reopens: bool
    ) -> None:
        self.clock = clock
        self.substrate = substrate
        self._suite = suite
        self._reopens = reopens
        self._hosts: list[EffectHost] = []
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def host(self) -> EffectHost:
        """The host in use."""
        return self._hosts[0]

    async def open(self) -> EffectHost:
        """One more host over the same substrate, beside those that are open."""
        host = await self._suite.open_host(self.substrate, self.clock)
        self._hosts.append(host)
        return host

    async def close(self, host: EffectHost) -> None:
        """Close a host before the end."""
        self._hosts.remove(host)
        await self._suite.close_host(host)

    async def interlude(self) -> None:
        """Put a fresh host over the same substrate in the place of the one in use, in that run."""
        if self._reopens:
            await self.close(self.host)
            await self.open()
            self._hosts.insert(0, self._hosts.pop())

    async def lease(self, session_id: str = "s", owner: LeaseOwner = ANA) -> WriteAuthority | None:
        """The lease of a session, as `owner` holds it from now on; None where there are no leases."""
        if not self._suite.fences:
            return None
        return await self._suite.lease(self.substrate, self.clock, session_id, owner)

    def drive(
        self,
        scope: ExecutionScope = OPERATION,
        *,
        authority: Authority | None = None,
        host: EffectHost | None = None,
        on_parked: Callable[[], None] | None = None,
    ) -> EffectController:
        """A controller that knows nothing of those before it: the scope is driven again."""
        return (host or self.host).scoped(scope, authority=authority, on_parked=on_parked)

    async def key(
        self,
        wait: AwaitEventWaitIdentity | str = "approval",
        scope: ExecutionScope = OPERATION,
    ) -> AwaitEventKey:
        """The key of a wait, a custom one if it is given by name."""
        named = CustomWait(key=wait) if isinstance(wait, str) else wait
        return await self.host.await_event_key(scope, named)

    async def passing(self, work: Awaitable[T], *, at_most_s: float = 60.0) -> T:
        """The result of `work`, for which there are so many seconds of virtual time."""
        return await while_time_passes(self.clock, work, at_most_s=at_most_s)

    async def wait(
        self,
        key: AwaitEventKey,
        *,
        cancel: CancelToken | None = None,
        deadline_at_ms: int | None = None,
    ) -> Resolution:
        """Wait for a promise, while virtual time passes."""
        return await self.passing(
            self.host.await_await_event(key, cancel=cancel, deadline_at_ms=deadline_at_ms)
        )

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Have something go on in the background. What still does is dropped at the end."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)
        return task

    async def drop(self, task: asyncio.Task[Any]) -> None:
        """Drop what goes on in the background, as a task that is cancelled is dropped."""
        task.cancel()
        await asyncio.wait((task,))

    async def aclose(self) -> None:
        """Drop and close everything."""
        for task in self._tasks:
            await self.drop(task)
        for host in list(self._hosts):
            await self.close(host)


@pytest.mark.asyncio
class HostProperties(Generic[S]):
    """What every group of properties of a host is made from. The first lines are yours to say.

    Attributes:
        journals: Recorded effects are answered, and not run again.
        durable: The substrate survives the process: cold processes are run on it.
        fences: Writes of sessions present a fence, and `lease` is given.
        cold_instances: Several host objects may be open over one substrate, at the same time or one
            after another.
    """

    journals: ClassVar[bool] = True
    durable: ClassVar[bool] = True
    fences: ClassVar[bool] = True
    cold_instances: ClassVar[bool] = True

    _reopens = False

    async def make_substrate(self, clock: VirtualClock) -> S:
        """A new and empty substrate; each call gives another one."""
        raise NotImplementedError

    async def open_host(self, substrate: S, clock: VirtualClock) -> EffectHost:
        """A host over a substrate that tells the time by `clock`. Nobody opened it before, or many did."""
        raise NotImplementedError

    async def close_host(self, host: EffectHost) -> None:
        """Close a host and what was opened for it. The substrate stays."""
        await host.aclose()

    async def lease(
        self, substrate: S, clock: VirtualClock, session_id: str, owner: LeaseOwner
    ) -> WriteAuthority:
        """Take the lease of a session, which nobody else holds any more, for `fences`."""
        raise NotImplementedError

    def cold_command(self, substrate: S, role: str, argument: str) -> Sequence[str]:
        """The command line of another process that plays a role on the substrate, for `durable`.

        `lash.testing.conformance.cold.command` makes one of the worker that comes with the kit.
        """
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a property on one host, and once more with a fresh host wherever it pauses."""
        lives = ("one-host",) if metafunc.function in _UNPAUSED else ("one-host", "fresh-hosts")
        metafunc.parametrize("_life", lives, indirect=True)

    @pytest.fixture(autouse=True)
    def _life(self, request: pytest.FixtureRequest) -> None:
        self._reopens = request.param == "fresh-hosts"

    @asynccontextmanager
    async def rig(self, *needs: HostPromise) -> AsyncIterator[HostRig[S]]:
        """A host to try a property on that needs promises of it."""
        self.needs(*needs)
        clock = VirtualClock()
        rig = HostRig(self, await self.make_substrate(clock), clock, reopens=self._reopens)
        try:
            await rig.open()
            yield rig
        finally:
            await rig.aclose()

    def needs(self, *promises: HostPromise) -> None:
        """Skip the test, visibly, unless the host makes these promises."""
        wanted = (*promises, "cold_instances") if self._reopens else promises
        for promise in wanted:
            if not getattr(self, promise):
                pytest.skip(f"not for this host: {_WITHOUT[promise]}")
