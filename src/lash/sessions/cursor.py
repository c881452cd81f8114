"""Cursors: where a reader of a session's live events stands, as text that clients keep and hand back.

`lashsc1:{revision}:{incarnation}.{position}:{session_id}`. Clients must not look into it. The session id
is last because it may hold colons.
"""

import re

from lash.core.errors import LashError
from lash.core.json import Data

_PREFIX = "lashsc1"
#: At most 18 digits, so that every number fits 64 bits and none costs more to read than it should.
_CURSOR = re.compile(
    _PREFIX + r":(0|[1-9][0-9]{0,17}):([^:\s]+)\.(0|[1-9][0-9]{0,17}):(.+)", re.DOTALL
)


class SessionCursor(Data):
    """Where a reader stands.

    Attributes:
        session_id: The session.
        revision: The commit up to which the reader has seen it.
        incarnation: The run whose live events are counted; another run counts anew.
        position: The last live event the reader has seen; 0 for none.
    """

    session_id: str
    revision: int
    incarnation: str
    position: int


def format_cursor(cursor: SessionCursor) -> str:
    """The cursor as text.

    Raises:
        ValueError: A part cannot be read back: an incarnation with a colon or a space, say.
    """
    text = f"{_PREFIX}:{cursor.revision}:{cursor.incarnation}.{cursor.position}:{cursor.session_id}"
    if _read(text) != cursor:
        message = f"this cursor could not be read back: {text!r}"
        raise ValueError(message)
    return text


def parse_cursor(text: str, session_id: str) -> SessionCursor:
    """Read a cursor that a client handed back for `session_id`.

    Raises:
        LashError: `session_cursor_malformed`, `session_cursor_wrong_session`.
    """
    cursor = _read(text)
    if cursor is None:
        raise LashError(
            "session_cursor_malformed",
            "That is not a cursor lash gave out. Hand back the text of an item's `cursor` unchanged, "
            "or begin without one.",
        )
    if cursor.session_id != session_id:
        raise LashError(
            "session_cursor_wrong_session",
            f"That cursor is for another session than {session_id!r}. Keep one cursor per session, "
            "or begin without one.",
            session_id=session_id,
        )
    return cursor


def _read(text: str) -> SessionCursor | None:
    match = _CURSOR.fullmatch(text)
    if match is None:
        return None
    revision, incarnation, position, session_id = match.groups()
    return SessionCursor(
        session_id=session_id,
        revision=int(revision),
        incarnation=incarnation,
        position=int(position),
    )
