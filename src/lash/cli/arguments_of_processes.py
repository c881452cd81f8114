"""Arguments of the commands that work with background processes."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter

from lash.cli.common_arguments import Commands, add_db, add_json, count, text
from lash.cli.ps.states import STATE_FILTERS

_WORKER = """\
Runs what it finds in a module: every agent and every process function at its top level. Takes
up whatever is unfinished in the database and nobody runs, and tells each process that begins,
parks, fails or ends, and each turn. Several workers on one database share the work.
"""
_WORKER_NOTES = """\
SIGTERM and Ctrl-C stop it: what runs is given back, and goes on in the next worker; work that
is bound to its worker is given up, which is said. A second one ends it at once, as kill -9
would, and that loses nothing either.

exit codes: 0 stopped, or idle with --until-idle; 2 the module cannot be used
"""
_MCP = """\
Serves the agents and processes of a module as an MCP server: over stdin and stdout, for a client
that starts it, or over HTTP. Works off what is unfinished in the database, as a worker does. A
client that leaves stops nothing: what was accepted is finished by this or another process.
"""
_MCP_NOTES = """\
environment:
  LASH_MCP_TOKEN    with --http: clients must send it as a bearer token; needed to listen on
                    anything but 127.0.0.1

exit codes: 0 the client left, or stopped by a signal; 2 the module or address cannot be used
"""
_PS = """\
Lists background processes: what they do, what they wait for, who runs them. With PROCESS:
one of them in detail, with its log and what its journal holds. Runs nothing.
"""
_PS_NOTES = """\
status:
  running    a live worker runs it          parked     it waits for a person, or its code
  waiting    for a signal or a timer      resting    its next attempt comes
  ready      for a worker                   stranded   its worker is gone for good
  external   somebody else does it          completed, failed, cancelled, abandoned

What signals said is never shown, other payloads are cut: --payloads shows them.
With --watch and without a terminal, or with --json: one line for each change.

exit codes: 0, and 130 when --watch is interrupted
"""
_SIGNAL = """\
Sends a process a signal. It is kept, in order, until the process asks for one of its name,
whoever runs it, and while nobody does.
"""
_SIGNAL_NOTES = """\
PAYLOAD_JSON is JSON: true, 7, '{"by": "ana"}', '"text"'. Without it, it is null; - reads it
from stdin, so that it stands in no shell history.

The same --id with the same payload is one signal, however often it is sent.

exit codes: 0 the signal is stored; 1 the process does not take it, has ended, or is unknown
"""
_ABANDON = """\
Gives a process up: it ends as abandoned, for ever, without another word from its code. What it
did outside stays as it is, and nobody knows how far it got. For what cannot go on: its worker
is gone for good, its code will never be back, or it does not answer to `lash cancel --process`,
which asks it to stop and lets it clean up.
"""
_ABANDON_NOTES = """\
exit codes: 0 it is given up, or will be as soon as its worker hears of it; 1 it came to its
end before, there is no such process, or the answer was no
"""


def add_worker(commands: Commands) -> None:
    """The command that runs processes and turns."""
    worker = _add(commands, "worker", "run the processes and agents of a module", _WORKER)
    worker.epilog = _WORKER_NOTES
    worker.add_argument(
        "module",
        type=text,
        metavar="MODULE[:NAME]",
        help="where they are, imported from here: all of a module, or one, a list of them or a "
        "function without parameters that makes them",
    )
    worker.add_argument(
        "--concurrency",
        type=count,
        metavar="N",
        help="how many processes run at once; what waits does not count (default: 64)",
    )
    worker.add_argument(
        "--until-idle",
        action="store_true",
        help="end as soon as nothing can go on without the outside",
    )
    add_db(worker)
    add_json(worker, "print one JSON document per line")


def add_mcp(commands: Commands) -> None:
    """The command that serves agents and processes to MCP clients."""
    mcp = _add(commands, "mcp", "serve the agents and processes of a module over MCP", _MCP)
    mcp.epilog = _MCP_NOTES
    mcp.add_argument(
        "module",
        type=text,
        metavar="MODULE[:NAME]",
        help="where they are, imported from here, as for `lash worker`",
    )
    mcp.add_argument(
        "--http",
        type=text,
        metavar="HOST:PORT",
        help="serve over streamable HTTP; port 0 is any that is free, and is printed",
    )
    add_db(mcp)


def add_processes(commands: Commands) -> None:
    """The commands that look at processes, and steer them."""
    _add_ps(commands)
    _add_signal(commands)
    _add_abandon(commands)


def _add(commands: Commands, name: str, summary: str, told: str) -> ArgumentParser:
    return commands.add_parser(
        name, help=summary, description=told, formatter_class=RawDescriptionHelpFormatter
    )


def _add_ps(commands: Commands) -> None:
    ps = _add(commands, "ps", "list background processes, or show one", _PS)
    ps.epilog = _PS_NOTES
    ps.add_argument(
        "process", type=text, nargs="?", metavar="PROCESS", help="the process to show in detail"
    )
    which = ps.add_mutually_exclusive_group()
    which.add_argument(
        "--all",
        dest="status",
        action="store_const",
        const="any",
        help="those that have ended, too",
    )
    which.add_argument(
        "--status",
        choices=STATE_FILTERS,
        metavar="STATUS",
        help="only those of a status, as listed below; or live (the default), retired, any",
    )
    ps.add_argument("--name", type=text, metavar="NAME", help="only of this function, or label")
    ps.add_argument(
        "--session", type=text, metavar="ID", help="only those that this session may see"
    )
    ps.add_argument("--watch", action="store_true", help="follow what changes, until Ctrl-C")
    ps.add_argument(
        "--payloads", action="store_true", help="with PROCESS: arguments, signals and results whole"
    )
    add_db(ps)
    add_json(ps, "print one JSON document (with --watch: per line)")


def _add_signal(commands: Commands) -> None:
    signal = _add(commands, "signal", "send a process a signal", _SIGNAL)
    signal.epilog = _SIGNAL_NOTES
    add_process(signal)
    signal.add_argument("name", type=text, metavar="NAME", help="which signal")
    signal.add_argument(
        "payload", type=text, nargs="?", metavar="PAYLOAD_JSON", help="what it says (default: null)"
    )
    signal.add_argument(
        "--id", type=text, metavar="ID", help="your own name for it, so that it is sent once"
    )
    add_db(signal)
    add_json(signal)


def _add_abandon(commands: Commands) -> None:
    abandon = _add(commands, "abandon", "give a process up", _ABANDON)
    abandon.epilog = _ABANDON_NOTES
    add_process(abandon)
    abandon.add_argument("--reason", type=text, metavar="TEXT", help="why; its log shows it")
    abandon.add_argument("--yes", action="store_true", help="do not ask")
    add_db(abandon)
    add_json(abandon)


def add_process(parser: ArgumentParser) -> None:
    """The process."""
    parser.add_argument("process", type=text, metavar="PROCESS", help="the process's id")
