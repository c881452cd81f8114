"""Arguments of the commands that work with events and subscriptions."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter

from lash.cli.common_arguments import Commands, add_db, add_json, text

_EMIT = """\
Writes down that an event occurred, with all that it means to those who subscribed. What it
means is started by the runtime or the worker that works on the database, at once; or by the
next one that opens it.
"""
_EMIT_NOTES = """\
The payload is JSON: true, 7, '{"order_id": "o-7"}', '"text"'. Without it, it is null; - reads
it from stdin, so that it stands in no shell history. It is checked where it is acted on.

The same --key with the same content is one occurrence, however often it is emitted.

exit codes: 0 the event is stored; 1 the key stands for another one
"""
_TRIGGERS = """\
Shows who subscribed to what; with `occurrences`, what occurred; with `deliveries`, what of it
was not started, and why. Runs nothing.
"""
_TRIGGERS_NOTES = """\
state of deliveries:
  reserved   it will be started, by whoever has its code
  started    its process is registered, or its input is in the queue of its session
  failed     it could not be started; emit the same again to have it tried again

exit codes: 0
"""


def add_triggers(commands: Commands) -> None:
    """The commands that emit events, and look at what came of them."""
    emit = _add(commands, "emit", "say that an event occurred", _EMIT)
    emit.epilog = _EMIT_NOTES
    emit.add_argument("event", type=text, metavar="EVENT", help="what occurred")
    emit.add_argument("--payload", type=text, metavar="JSON", help="what it says (default: null)")
    emit.add_argument(
        "--key", type=text, metavar="KEY", required=True, help="your own name for this one time"
    )
    emit.add_argument(
        "--source", type=text, metavar="JSON", help="where it occurred, if it has several sources"
    )
    add_db(emit)
    add_json(emit)
    triggers = _add(commands, "triggers", "list subscriptions, and what came of events", _TRIGGERS)
    triggers.epilog = _TRIGGERS_NOTES
    triggers.add_argument(
        "what",
        nargs="?",
        choices=("list", "occurrences", "deliveries"),
        default="list",
        help="subscriptions (the default), occurrences or deliveries",
    )
    triggers.add_argument("--event", type=text, metavar="EVENT", help="only of this event")
    triggers.add_argument(
        "--all",
        action="store_true",
        help="deleted subscriptions, and deliveries that were started, too",
    )
    add_db(triggers)
    add_json(triggers)


def _add(commands: Commands, name: str, summary: str, told: str) -> ArgumentParser:
    return commands.add_parser(
        name, help=summary, description=told, formatter_class=RawDescriptionHelpFormatter
    )
