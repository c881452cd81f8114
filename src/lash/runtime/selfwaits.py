"""Refusing to wait for oneself: a tool that waits for a turn of its own session would wait for ever.

What is kept here is only where a task stands, for this one refusal. Nothing durable derives from it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context

from lash.core.errors import LashError

#: The sessions whose tools the running task is inside of.
_inside: ContextVar[frozenset[str]] = ContextVar("lash_inside", default=frozenset())


@contextmanager
def inside(session_id: str) -> Iterator[None]:
    """The body of a tool of this session runs."""
    token = _inside.set(_inside.get() | {session_id})
    try:
        yield
    finally:
        _inside.reset(token)


def outside() -> Context:
    """The context of work that a tool has begun and does not wait for."""
    context = copy_context()
    context.run(_inside.set, frozenset())
    return context


def inside_of() -> frozenset[str]:
    """The sessions whose tools the running task is inside of."""
    return _inside.get()


def check_apart(tool_session: str, session_id: str) -> None:
    """Refuse to wait for a turn of a session that waits for the tool.

    Raises:
        LashError: `session_waits_for_itself`.
    """
    if tool_session == session_id:
        raise LashError(
            "session_waits_for_itself",
            f"A tool of session {session_id!r} cannot wait for a turn of that session, which waits for "
            "the tool; nothing was accepted. Use session.enqueue(…) to say something afterwards, or "
            "ctx.child(…) to have it done in a session of its own.",
            session_id=session_id,
        )
