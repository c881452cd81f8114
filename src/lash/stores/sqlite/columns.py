"""Columns to values and back. SQLite keeps a value of any type in any column, so each row is checked."""

import sqlite3
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from lash.core.json import encode

T = TypeVar("T")

#: sqlite3 gives rows as tuples of anything; `checked` gives them their types.
Row: TypeAlias = tuple[Any, ...]

#: A number that counts up, far from where the database cannot count on.
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


def row_type(kind: type[T]) -> type[T]:
    """Marks the types that rows are checked against, and has msgspec learn them now.

    It learns a type where it is first used, and two threads that use one for the first time at once
    may meet it half learned.
    """
    msgspec.json.Decoder(kind)
    return kind


def checked(value: object, kind: type[T]) -> T:
    """A row, or one column of it, with the types it must have.

    Raises:
        msgspec.ValidationError: It has another; the operation fails with `store_corrupt`.
    """
    return msgspec.convert(value, kind)


def decoded(decoder: msgspec.json.Decoder[T], column: str) -> T:
    """A value from the JSON text of a column."""
    try:
        return decoder.decode(column)
    except RecursionError as error:
        raise msgspec.DecodeError("it is nested too deeply") from error


def text(value: object) -> str:
    """A value as the JSON text a column holds."""
    return encode(value).decode()


def column(cursor: sqlite3.Cursor, kind: type[T]) -> list[T]:
    """The only column of what a query gives."""
    return [checked(value, kind) for (value,) in cursor]


def array(values: Sequence[object]) -> str:
    """Values as the JSON array that a query takes."""
    return encode(list(values)).decode()
