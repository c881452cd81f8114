"""The triggers of one session, as an application handles them: `session.triggers`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from lash.app.triggers import Triggers
from lash.runtime.engine import Engine
from lash.runtime.processes.function import ProcessFunction
from lash.runtime.triggers.events import TriggerEvent
from lash.runtime.triggers.reports import EmitReport
from lash.runtime.triggers.targets import SessionPrompt
from lash.triggers.commands import TriggerReceipt
from lash.triggers.model import Subscription


class SessionTriggers:
    """What one session has subscribed to. `runtime.triggers` has all of a runtime's.

    Subscriptions made here are the session's: keys are unique among them, the session sees the processes
    they start and is woken by them, and they end with the session.

    Args:
        engine: Gives the drivers, while the runtime is open.
        session_id: The session.
    """

    def __init__(self, engine: Callable[[], Engine], session_id: str) -> None:
        self._engine = engine
        self._session_id = session_id

    def __repr__(self) -> str:
        return f"SessionTriggers({self._session_id!r})"

    @property
    def _all(self) -> Triggers:
        return Triggers(self._engine())

    async def emit(
        self,
        event: TriggerEvent | str,
        payload: object = None,
        *,
        key: str | None = None,
        source: object = None,
    ) -> EmitReport:
        """Say that something occurred that means only this session's subscriptions.

        Raises:
            As `runtime.triggers.emit`.
        """
        return await self._all.emit(
            event, payload, key=key, source=source, session=self._session_id
        )

    async def subscribe(
        self,
        event: TriggerEvent | str,
        target: ProcessFunction[..., Any] | SessionPrompt,
        *,
        key: str,
        input: Mapping[str, object] | None = None,  # noqa: A002  what it is
        source: object = None,
        name: str | None = None,
        label: str | None = None,
        wakes: str | None = None,
        on_change: Literal["refuse", "update"] = "refuse",
        operation_id: str | None = None,
    ) -> TriggerReceipt:
        """Have something started in the session's name whenever an event occurs.

        Raises:
            As `runtime.triggers.subscribe`.
        """
        return await self._all.subscribe(
            event,
            target,
            key=key,
            input=input,
            source=source,
            name=name,
            label=label,
            wakes=wakes,
            session=self._session_id,
            on_change=on_change,
            operation_id=operation_id,
        )

    async def revive(
        self,
        event: TriggerEvent | str,
        target: ProcessFunction[..., Any] | SessionPrompt,
        *,
        key: str,
        expected_revision: int | None = None,
        input: Mapping[str, object] | None = None,  # noqa: A002  what it is
        source: object = None,
        name: str | None = None,
        label: str | None = None,
        wakes: str | None = None,
        operation_id: str | None = None,
    ) -> TriggerReceipt:
        """Begin a deleted subscription of the session anew.

        Raises:
            As `runtime.triggers.revive`.
        """
        return await self._all.revive(
            event,
            target,
            key=key,
            expected_revision=expected_revision,
            input=input,
            source=source,
            name=name,
            label=label,
            wakes=wakes,
            session=self._session_id,
            operation_id=operation_id,
        )

    async def enable(
        self, key: str, *, expected_revision: int | None = None, operation_id: str | None = None
    ) -> TriggerReceipt:
        """Have a subscription match again.

        Raises:
            ConflictError: `trigger_subscription_conflict`.
        """
        return await self._all.enable(
            key,
            expected_revision=expected_revision,
            session=self._session_id,
            operation_id=operation_id,
        )

    async def disable(
        self, key: str, *, expected_revision: int | None = None, operation_id: str | None = None
    ) -> TriggerReceipt:
        """Have a subscription match nothing more. What it has reserved is started all the same.

        Raises:
            ConflictError: `trigger_subscription_conflict`.
        """
        return await self._all.disable(
            key,
            expected_revision=expected_revision,
            session=self._session_id,
            operation_id=operation_id,
        )

    async def delete(
        self, key: str, *, expected_revision: int | None = None, operation_id: str | None = None
    ) -> TriggerReceipt:
        """End a subscription. What it has reserved is started all the same.

        Raises:
            ConflictError: `trigger_subscription_conflict`.
        """
        return await self._all.delete(
            key,
            expected_revision=expected_revision,
            session=self._session_id,
            operation_id=operation_id,
        )

    async def get(self, key: str) -> Subscription | None:
        """A subscription of the session, or what is left of a deleted one."""
        return await self._all.get(key, session=self._session_id)

    async def list(
        self, *, event: str | None = None, enabled: bool | None = None, deleted: bool = False
    ) -> Sequence[Subscription]:
        """What the session owns or wrote, by key; without `deleted`, what lives."""
        return await self._all.list(
            event=event, enabled=enabled, session=self._session_id, deleted=deleted
        )
