"""Cancelling work is a fact with an origin and a reason, apart from asyncio's task cancellation."""

from collections.abc import Callable

from lash.core.json import Data


class Cancellation(Data):
    """Who asked for the stop, and why."""

    request_id: str
    origin: str | None = None
    reason: str | None = None


class CancelToken:
    """Tripped at most once; the first cancellation stays. Children follow their parent.

    The token knows no event loop: whoever waits registers a callback.
    """

    __slots__ = ("_callbacks", "_cancellation", "_unfollow")

    def __init__(self, parent: "CancelToken | None" = None) -> None:
        self._cancellation: Cancellation | None = None
        self._callbacks: dict[object, Callable[[Cancellation], None]] = {}
        self._unfollow = parent.on_cancel(self._follow) if parent is not None else None

    @property
    def cancelled(self) -> bool:
        """Whether the token was tripped."""
        return self._cancellation is not None

    @property
    def cancellation(self) -> Cancellation | None:
        """The cancellation that tripped it, if any."""
        return self._cancellation

    def cancel(self, cancellation: Cancellation) -> bool:
        """Trip the token; False (and no change) when it was tripped before.

        Raises:
            ExceptionGroup: Callbacks failed. Every other one was called all the same, so that one
                listener's bug cannot keep work running that was asked to stop.
        """
        if self._cancellation is not None:
            return False
        self._cancellation = cancellation
        callbacks, self._callbacks = self._callbacks, {}
        errors: list[Exception] = []
        for callback in callbacks.values():
            try:
                callback(cancellation)
            except Exception as error:  # noqa: BLE001  raised below, once all were called
                errors.append(error)
        if errors:
            raise ExceptionGroup("Callbacks of a cancelled token failed.", errors)
        return True

    def on_cancel(self, callback: Callable[[Cancellation], None]) -> Callable[[], None]:
        """Call back once when tripped (at once if it is already); returns how to unsubscribe."""
        if self._cancellation is not None:
            callback(self._cancellation)
            return lambda: None
        subscription = object()
        self._callbacks[subscription] = callback

        def unsubscribe() -> None:
            self._callbacks.pop(subscription, None)

        return unsubscribe

    def leave(self) -> None:
        """Follow the parent no longer: what the token stands for is over."""
        if self._unfollow is not None:
            self._unfollow()

    def _follow(self, cancellation: Cancellation) -> None:
        self.cancel(cancellation)
