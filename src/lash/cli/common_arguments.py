"""Arguments that several commands take, and how they are read."""

import re
from argparse import ArgumentParser, ArgumentTypeError, _SubParsersAction
from datetime import timedelta
from typing import TypeAlias

DEFAULT_DB = "lash.db"

Commands: TypeAlias = "_SubParsersAction[ArgumentParser]"

#: With its unit: what is older than 30 seconds is not to go where days were meant.
_AGE = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_reader(commands: Commands, name: str, summary: str) -> ArgumentParser:
    """A command that takes a database and can answer in JSON."""
    parser = commands.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
    add_db(parser)
    add_json(parser)
    return parser


def add_session(parser: ArgumentParser) -> None:
    """The session."""
    parser.add_argument("session", type=text, metavar="SESSION", help="the session's id")


def add_db(parser: ArgumentParser) -> None:
    """The database."""
    parser.add_argument(
        "--db",
        type=text,
        default=DEFAULT_DB,
        metavar="PATH",
        help="the SQLite file (default: %(default)s)",
    )


def add_json(parser: ArgumentParser, what: str = "print one JSON document") -> None:
    """The form for programs."""
    parser.add_argument(
        "--json", action="store_true", help=f"{what} and nothing else; errors as JSON too"
    )


def text(argument: str) -> str:
    """An argument that can be stored: the shell hands over bytes of any encoding."""
    if any("\ud800" <= char <= "\udfff" for char in argument):
        raise ArgumentTypeError("it is not valid text in this terminal's encoding")
    return argument


def count(argument: str) -> int:
    """A number from 1 up."""
    if not argument.isascii() or not argument.isdigit() or int(argument) < 1:
        raise ArgumentTypeError(f"{argument!r} is not a number from 1 up")
    return int(argument)


def age(argument: str) -> timedelta:
    """A length of time: `30d`, `12h`, `90m`, `45s`, `2w`."""
    read = _AGE.fullmatch(argument)
    if read is None:
        raise ArgumentTypeError(f"{argument!r} is not an age; write it like 30d, 12h or 90m")
    return timedelta(**{_UNITS[read[2]]: int(read[1])})
