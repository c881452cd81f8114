"""Which command runs what. Imported one by one: `lash --help` does not wait for what it does not need."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import TypeAlias

_Command: TypeAlias = Callable[[Namespace], int]


def execute(options: Namespace) -> int:
    """Run the command that was asked for."""
    return _COMMANDS[options.command](options)


def _demo(options: Namespace) -> int:
    from lash.cli.demo.command import demo

    return demo(options.kill_at, keep=options.keep, as_json=options.json)


def _run(options: Namespace) -> int:
    from lash.cli.run import RunRequest, run

    return run(
        RunRequest(
            prompt=options.prompt,
            db=options.db,
            session_id=options.session,
            model=options.model,
            tools=tuple(options.tools),
            instructions=options.instructions,
            attempts=options.attempts,
            as_json=options.json,
            attach=tuple(options.attach),
        )
    )


def _chat(options: Namespace) -> int:
    from lash.cli.chat.command import ChatRequest, chat

    return chat(
        ChatRequest(
            session_id=options.session,
            db=options.db,
            app=options.app,
            agent=options.agent,
            model=options.model,
        )
    )


def _sessions(options: Namespace) -> int:
    from lash.cli.sessions import sessions

    return sessions(options.db, as_json=options.json)


def _show(options: Namespace) -> int:
    from lash.cli.show import show

    return show(options.session, options.db, as_json=options.json)


def _journal(options: Namespace) -> int:
    from lash.cli.journal import journal

    return journal(options.session, options.turn, options.db, as_json=options.json)


def _replay(options: Namespace) -> int:
    from lash.cli.replay import replay

    return replay(options.session, options.turn, options.app, options.db, as_json=options.json)


def _resolve(options: Namespace) -> int:
    from lash.cli.resolve import ResolveRequest, resolve

    return resolve(
        ResolveRequest(
            key=options.key,
            db=options.db,
            value=options.value,
            error=options.error,
            code=options.code,
            cancel=options.cancel,
            as_json=options.json,
        )
    )


def _tail(options: Namespace) -> int:
    from lash.cli.tail import tail

    return tail(
        options.session,
        options.db,
        cursor=options.cursor,
        once=options.once,
        as_json=options.json,
    )


def _cancel(options: Namespace) -> int:
    from lash.cli.cancel import CancelOptions, cancel

    return cancel(
        CancelOptions(
            session_id=options.session,
            turn_id=options.turn,
            process_id=options.process,
            db=options.db,
            reason=options.reason,
            wait=options.wait,
            as_json=options.json,
        )
    )


def _worker(options: Namespace) -> int:
    from lash.cli.worker.command import WorkerRequest, worker

    return worker(
        WorkerRequest(
            module=options.module,
            db=options.db,
            concurrency=options.concurrency,
            until_idle=options.until_idle,
            as_json=options.json,
        )
    )


def _mcp(options: Namespace) -> int:
    from lash.cli.mcp.command import McpRequest, serve

    return serve(McpRequest(module=options.module, db=options.db, http=options.http))


def _ps(options: Namespace) -> int:
    from lash.cli.ps.command import PsRequest, ps

    return ps(
        PsRequest(
            process_id=options.process,
            state=options.status,
            name=options.name,
            session=options.session,
            db=options.db,
            watch=options.watch,
            payloads=options.payloads,
            as_json=options.json,
        )
    )


def _signal(options: Namespace) -> int:
    from lash.cli.signalling import SignalRequest, send

    return send(
        SignalRequest(
            process_id=options.process,
            name=options.name,
            payload=options.payload,
            signal_id=options.id,
            db=options.db,
            as_json=options.json,
        )
    )


def _emit(options: Namespace) -> int:
    from lash.cli.emitting import EmitOptions, emit

    return emit(
        EmitOptions(
            event=options.event,
            payload=options.payload,
            key=options.key,
            source=options.source,
            db=options.db,
            as_json=options.json,
        )
    )


def _triggers(options: Namespace) -> int:
    from lash.cli.triggers import TriggersRequest, triggers

    return triggers(
        TriggersRequest(
            what=options.what,
            event=options.event,
            everything=options.all,
            db=options.db,
            as_json=options.json,
        )
    )


def _abandon(options: Namespace) -> int:
    from lash.cli.abandon import AbandonOptions, abandon

    return abandon(
        AbandonOptions(
            process_id=options.process,
            reason=options.reason,
            db=options.db,
            yes=options.yes,
            as_json=options.json,
        )
    )


def _queue(options: Namespace) -> int:
    from lash.cli.queue import queue

    return queue(options.session, options.db, as_json=options.json)


def _usage(options: Namespace) -> int:
    from lash.cli.usage import usage

    return usage(options.session, options.db, as_json=options.json)


def _fork(options: Namespace) -> int:
    from lash.cli.fork import fork

    return fork(options.session, options.new, options.at, options.db, as_json=options.json)


def _rm(options: Namespace) -> int:
    from lash.cli.rm import rm

    return rm(options.session, options.db, yes=options.yes, as_json=options.json)


def _vacuum(options: Namespace) -> int:
    from lash.cli.vacuum import vacuum

    return vacuum(options.older_than, options.db, as_json=options.json)


def _doctor(options: Namespace) -> int:
    from lash.cli.doctor import doctor

    return doctor(options.db, as_json=options.json)


_COMMANDS: Mapping[str, _Command] = {
    "demo": _demo,
    "run": _run,
    "chat": _chat,
    "sessions": _sessions,
    "show": _show,
    "journal": _journal,
    "replay": _replay,
    "resolve": _resolve,
    "worker": _worker,
    "mcp": _mcp,
    "tail": _tail,
    "cancel": _cancel,
    "ps": _ps,
    "signal": _signal,
    "abandon": _abandon,
    "emit": _emit,
    "triggers": _triggers,
    "queue": _queue,
    "usage": _usage,
    "fork": _fork,
    "rm": _rm,
    "vacuum": _vacuum,
    "doctor": _doctor,
}
