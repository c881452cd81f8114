"""What the `lash` command understands, and the help it gives."""

import re
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn, cast, get_args

from lash.cli.arguments_of_processes import add_mcp, add_processes, add_worker
from lash.cli.arguments_of_sessions import add_keeping, add_working
from lash.cli.arguments_of_triggers import add_triggers
from lash.cli.common_arguments import (
    Commands,
    add_db,
    add_json,
    add_reader,
    add_session,
    count,
    text,
)
from lash.cli.demo.plan import KillPoint
from lash.core.seams import Seam
from lash.effects.waits.model import TOKEN_PREFIX

DEFAULT_SESSION = "default"

#: Before these, nothing was promised to anyone yet, so there is nothing to resume.
_UNACCEPTED = ("accept.before", "accept.inside")
KILLABLE: tuple[str, ...] = tuple(
    seam
    for seam in get_args(Seam)
    if seam not in _UNACCEPTED and not seam.startswith(("process.", "trigger.", "wakes."))
)

_DESCRIPTION = """\
lash runs LLM agents whose work survives the process: every model call and tool
call is recorded as it happens, so that a turn that was accepted is finished, even
after kill -9, without repeating what was done already.
"""
_EXAMPLES = """\
first steps:
  lash demo                                      watch a turn survive kill -9 (no network)
  lash run "Hello!" --model scripted             a turn without a network or a key
  OPENAI_API_KEY=... lash run "Hello!"           a turn with a real model
  lash run "And now?" --tools shop:lookup_order  with a Python function as a tool
  lash chat default --app shop                   a conversation with the agents of shop.py
  lash sessions                                  what lash.db holds
  lash show default                              one conversation, turn by turn
  lash journal default                           what was recorded, turn by turn
  lash replay default TURN --app shop            does the code of now come to the same?
  lash resolve KEY '{"approved": true}'          answer a tool that waits for the outside
  lash tail default                              what happens in it, as it happens
  lash cancel default                            stop the turn that runs
  lash worker shop                               run the processes and agents of shop.py
  lash mcp shop                                  serve shop.py to MCP clients
  lash ps                                        what processes do, and what they wait for
  lash signal refund-7 approved '{"by": "ana"}'  tell a process what it waits for
  lash emit order.paid --key p-1                 say that an event occurred
  lash triggers                                  who subscribed to what
  lash doctor                                    is everything in lash.db as it should be?

exit codes: 0 done, 1 failed or stopped, 2 usage or configuration, 130 interrupted
"""
_RUN = """\
Sends PROMPT to an agent and streams its answer to stdout; tool calls, retries and
token counts go to stderr. The prompt is accepted into a SQLite file first: whatever
happens then, the turn is finished by the next `lash run` in the same session.
"""
_RUN_NOTES = """\
environment:
  OPENAI_API_KEY    the key for openai:... models (any text if the server checks none)
  OPENAI_BASE_URL   another server that speaks the OpenAI wire format, with its /v1
  LASH_MODEL        the model when --model is not given
"""
_JOURNAL = """\
Shows what a turn recorded, effect by effect, and which answers from outside it waits
for. Without TURN: the session's turns, with how much each of them recorded. Outcomes
themselves are not shown: `lash show` has what was said, and `lash replay` compares.
"""
_REPLAY = """\
Drives a turn again with the agents of a module, every effect answered from the turn's
journal: nothing is executed, no model is asked, no key is needed and nothing is
written. Finds a clock, a random id or an unsorted set in an agent's prompt before a
crash in production does.
"""
_REPLAY_NOTES = """\
verdicts:
  identical  the code of now comes to the same, exit code 0
  drifted    instructions, tools or model changed around what was recorded, exit code 1
  diverged   the code asks for something else, or makes something else of it, exit code 1
"""
_RESOLVE = """\
Answers a tool call that was deferred, or another promise, by its key: with VALUE, with
an error, or with a cancellation. The first answer stands for ever, also one that comes
before anybody waits. Work that no process drives goes on when a runtime opens the file.
"""
_RESOLVE_NOTES = """\
VALUE is JSON if it reads as JSON (true, 7, '{"approved": true}', '"7"'), else text. Without
it, the answer is null.

A key is a password for one answer. As an argument it stands in the shell's history and in
the process list; `lash resolve -` reads it from stdin.

exit codes: 0 this answer stands, 1 another one does or the key is unknown or revoked
"""
_DEMO = """\
A process runs a turn of three model calls and three tools, and is killed with
SIGKILL in the middle. A second process opens the file; nobody tells it what was
going on. It finishes the turn, and a ledger written by every model call and tool that
really ran is compared with the journal. No network, no key, a few seconds.
"""


class UsageError(Exception):
    """The arguments cannot be understood. Its text is what a person is shown."""

    def __init__(self, message: str, parser: ArgumentParser) -> None:
        super().__init__(f"{parser.format_usage()}{parser.prog}: error: {message}\n")
        self.message = message


class _Parser(ArgumentParser):
    """Repeats what it cannot understand, except for keys: they are as secret as passwords."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong.

        Raises:
            UsageError: Always.
        """
        raise UsageError(re.sub(rf"{TOKEN_PREFIX}\S+", f"{TOKEN_PREFIX}…", message), self)


def build_parser() -> ArgumentParser:
    """The parser of the whole command line."""
    parser: ArgumentParser = _Parser(
        prog="lash",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lash {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_run(commands)
    add_worker(commands)
    add_mcp(commands)
    add_working(commands)
    add_processes(commands)
    add_triggers(commands)
    add_reader(commands, "sessions", "list the sessions of a database")
    show = add_reader(commands, "show", "show a session, turn by turn")
    add_session(show)
    _add_journal(commands)
    _add_replay(commands)
    _add_resolve(commands)
    add_keeping(commands)
    return parser


def _add_demo(commands: Commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="kill a turn with SIGKILL and watch it resume",
        description=_DEMO,
        epilog=f"seams: {', '.join(KILLABLE)}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    demo.add_argument(
        "--kill-at",
        type=_kill_point,
        default=KillPoint(),
        metavar="SEAM[:N]",
        help="where to kill: the Nth time a seam is passed (default: model.after:2)",
    )
    demo.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the database and the ledger in DIR"
    )
    add_json(demo)


def _add_run(commands: Commands) -> None:
    run = commands.add_parser(
        "run",
        usage="lash run PROMPT [options]",
        help="run one turn and stream the answer",
        description=_RUN,
        epilog=_RUN_NOTES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    run.add_argument("prompt", type=text, metavar="PROMPT", help="what to say to the agent")
    run.add_argument(
        "--attach",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="show the model a picture or a document behind PROMPT; may be given again",
    )
    add_db(run)
    run.add_argument(
        "--session",
        type=text,
        default=DEFAULT_SESSION,
        metavar="ID",
        help="the conversation to go on with (default: %(default)s)",
    )
    run.add_argument(
        "--model",
        type=text,
        metavar="PROVIDER:MODEL",
        help="such as openai:gpt-5.2; 'scripted' is a built-in stand-in that needs no network",
    )
    run.add_argument(
        "--tools",
        type=text,
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="a function the model may call, or a list of them, imported from here; repeatable",
    )
    run.add_argument(
        "--instructions", type=text, default="", metavar="TEXT", help="the system prompt"
    )
    run.add_argument(
        "--attempts",
        type=count,
        metavar="N",
        help="how often a model call is tried before the turn stops (default: 4)",
    )
    add_json(run)


def _add_journal(commands: Commands) -> None:
    journal = commands.add_parser(
        "journal",
        help="show what turns recorded and what they wait for",
        description=_JOURNAL,
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_session(journal)
    journal.add_argument(
        "turn", type=text, nargs="?", metavar="TURN", help="the turn's id (default: all turns)"
    )
    add_db(journal)
    add_json(journal)


def _add_replay(commands: Commands) -> None:
    replay = commands.add_parser(
        "replay",
        usage="lash replay SESSION TURN --app MODULE[:NAME] [options]",
        help="compare a recorded turn with the code of now",
        description=_REPLAY,
        epilog=_REPLAY_NOTES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_session(replay)
    replay.add_argument("turn", type=text, metavar="TURN", help="the turn's id")
    replay.add_argument(
        "--app",
        type=text,
        required=True,
        metavar="MODULE[:NAME]",
        help="where the agents are: all of a module, or an agent, a list of them or a function "
        "without parameters that makes them",
    )
    add_db(replay)
    add_json(replay)


def _add_resolve(commands: Commands) -> None:
    resolve = commands.add_parser(
        "resolve",
        usage="lash resolve KEY [VALUE | --error MESSAGE [--code CODE] | --cancel] [options]",
        help="answer what waits for the outside",
        description=_RESOLVE,
        epilog=_RESOLVE_NOTES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    resolve.add_argument(
        "key",
        type=text,
        metavar="KEY",
        help="the key, as a token or as JSON; - reads it from stdin",
    )
    resolve.add_argument(
        "value", type=text, nargs="?", metavar="VALUE", help="the answer (default: null)"
    )
    resolve.add_argument(
        "--error", type=text, metavar="MESSAGE", help="the outside could not do its part"
    )
    resolve.add_argument(
        "--code", type=text, metavar="CODE", help="the error's code (default: external)"
    )
    resolve.add_argument("--cancel", action="store_true", help="nobody will answer")
    add_db(resolve)
    add_json(resolve)


def _kill_point(argument: str) -> KillPoint:
    seam, colon, nth = argument.partition(":")
    if seam in _UNACCEPTED:
        raise ArgumentTypeError(
            f"at {seam} the turn is not accepted yet, so there is nothing to resume"
        )
    if seam not in KILLABLE:
        raise ArgumentTypeError(f"there is no seam {seam!r}; there are {', '.join(KILLABLE)}")
    return KillPoint(seam=cast("Seam", seam), nth=count(nth) if colon else 1)


def _version() -> str:
    try:
        return version("lash-runtime")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "(not installed)"
