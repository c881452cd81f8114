"""Arguments of the commands that work with one session, and of those that keep a database in order."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import timedelta

from lash.cli.common_arguments import Commands, add_db, add_json, add_reader, add_session, age, text

_CHAT = """\
A conversation in the terminal, durable like every other: what was accepted is finished,
whoever leaves. Without a terminal, every line of stdin is a turn.
"""
_CHAT_KEYS = """\
while a turn runs:
  Enter   sends the line into it        Tab     queues the line for the next turn
  Esc     stops it, and so does Ctrl-C

Ctrl-C twice, or Ctrl-D at an empty line, leaves. /help tells the commands.
Needs prompt_toolkit in a terminal: pip install 'lash-runtime[chat]'
"""
_TAIL = """\
Follows a session: what is committed in it, by whichever process, and what this command
found in it to begin with. Drives nothing and writes nothing. What another process's turn
does before its commit is not in the database, so it is told once it is committed.
"""
_TAIL_NOTES = """\
With --json: one item per line, each with the cursor that leads on from it. --cursor goes on
behind that item's commit; with a cursor that this database cannot lead on from, it begins with a
gap and a fresh snapshot.

exit codes: 0 with --once, 130 when interrupted
"""
_CANCEL = """\
Asks a turn to stop, whichever process drives it, and says what came of it. A turn that
nobody drives is ended by this command itself. With --process: asks a background process to
stop; it is told where it waits, and may clean up first.
"""
_CANCEL_NOTES = """\
exit codes: 0 asked, by this request or one before; 1 it had come to its end, or there is none
"""
_RM = """\
Removes a session for ever: its history, queue, journals and promises. Its id is never
used again. Forks of it and its child sessions live on, and are named.
"""
_VACUUM = """\
Gives back space: what deleted sessions left, what queued input said that has long been part
of a turn, requests to stop that were met, the journals of finished work, and attachments
that nobody refers to. History, results and unfinished work are never touched. `lash replay`
needs a turn's journal.
"""
_VACUUM_NOTES = """\
exit codes: 0 removed what there was, also when that was nothing; 1 it failed, which is told
with what was removed before
"""
_DOCTOR = """\
Checks that everything in a database fits together, beside whoever works in it, and says
what to do about what does not. Nothing is repaired and nothing is changed.
"""
_DOCTOR_NOTES = """\
exit codes: 0 nothing was found, 1 something was found
"""


def add_working(commands: Commands) -> None:
    """The commands that work with one session."""
    _add_chat(commands)
    _add_tail(commands)
    _add_cancel(commands)
    for name, summary in (
        ("queue", "show what waits to enter a session"),
        ("usage", "show what a session used, by source and model"),
    ):
        add_session(add_reader(commands, name, summary))


def add_keeping(commands: Commands) -> None:
    """The commands that keep sessions and their database in order."""
    fork = add_reader(commands, "fork", "begin a session with the history of another one")
    add_session(fork)
    fork.add_argument("new", type=text, metavar="NEW", help="the new session's id, never used yet")
    fork.add_argument(
        "--at",
        type=text,
        metavar="MESSAGE",
        help="the message it begins after, by id, as `lash show --json` tells (default: the newest)",
    )
    remove = _add(commands, "rm", "remove a session for ever", _RM, "")
    add_session(remove)
    remove.add_argument("--yes", action="store_true", help="do not ask")
    _finish(remove)
    vacuum = _add(commands, "vacuum", "give back space", _VACUUM, _VACUUM_NOTES)
    vacuum.add_argument(
        "--older-than",
        type=age,
        default=timedelta(days=30),
        metavar="AGE",
        help="leave alone what is younger: 30d, 12h, 90m (default: 30d)",
    )
    _finish(vacuum)
    _finish(_add(commands, "doctor", "check that everything fits together", _DOCTOR, _DOCTOR_NOTES))


def _add(commands: Commands, name: str, summary: str, told: str, notes: str) -> ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=told,
        epilog=notes or None,
        formatter_class=RawDescriptionHelpFormatter,
    )


def _finish(parser: ArgumentParser) -> None:
    add_db(parser)
    add_json(parser)


def _add_chat(commands: Commands) -> None:
    chat = _add(commands, "chat", "talk to an agent", _CHAT, _CHAT_KEYS)
    chat.add_argument(
        "session",
        type=text,
        nargs="?",
        default="default",
        metavar="SESSION",
        help="the conversation to go on with, or to begin (default: %(default)s)",
    )
    chat.add_argument(
        "--app",
        type=text,
        metavar="MODULE[:NAME]",
        help="where the agents are: all of a module, or an agent, a list of them or a function "
        "without parameters that makes them (default: the plain agent of `lash run`)",
    )
    chat.add_argument(
        "--agent",
        type=text,
        metavar="AGENT",
        help="who runs a new session, when the app has several",
    )
    chat.add_argument(
        "--model",
        type=text,
        metavar="PROVIDER:MODEL",
        help="the session's model from now on, such as openai:gpt-5.2",
    )
    add_db(chat)


def _add_tail(commands: Commands) -> None:
    tail = _add(commands, "tail", "follow what happens in a session", _TAIL, _TAIL_NOTES)
    add_session(tail)
    tail.add_argument("--cursor", type=text, metavar="C", help="go on behind this cursor's item")
    how = tail.add_mutually_exclusive_group()
    how.add_argument(
        "--follow", action="store_true", help="wait for more, until Ctrl-C (the default)"
    )
    how.add_argument("--once", action="store_true", help="end once everything so far is told")
    add_db(tail)
    add_json(tail, "print one JSON document per line")


def _add_cancel(commands: Commands) -> None:
    cancel = _add(commands, "cancel", "ask a turn or a process to stop", _CANCEL, _CANCEL_NOTES)
    cancel.usage = "lash cancel (SESSION [TURN] | --process ID) [options]"
    cancel.add_argument("session", type=text, nargs="?", metavar="SESSION", help="the session's id")
    cancel.add_argument(
        "turn",
        type=text,
        nargs="?",
        metavar="TURN",
        help="the turn's id (default: the one that comes first now)",
    )
    cancel.add_argument(
        "--process", type=text, metavar="ID", help="stop this background process, not a turn"
    )
    cancel.add_argument(
        "--reason", type=text, metavar="TEXT", help="why; the turn's outcome, or the log, shows it"
    )
    cancel.add_argument("--wait", action="store_true", help="wait until it has ended, and say how")
    _finish(cancel)
