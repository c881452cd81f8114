"""`lash worker`: opens a runtime with what a module holds, and keeps it open until it is told to stop."""

import asyncio
import logging
import signal
from contextlib import suppress
from dataclasses import dataclass

from lash.app.runtime import MEMORY, Runtime
from lash.cli.exit_codes import ExitCode
from lash.cli.importing import Work, import_work
from lash.cli.own_stdout import own_stdout
from lash.cli.ps.wanted import processes_of
from lash.cli.reading import check_path
from lash.cli.worker.report import Report
from lash.cli.worker.store import WorkersStore
from lash.core.clock import SystemClock
from lash.core.errors import ConfigurationError
from lash.effects.waits.hints import POLL_FIRST_S
from lash.processes.listing import ProcessFilter
from lash.runtime.environment import RuntimeEvent
from lash.runtime.events import ProcessFaultEvent, TriggerDeliveryFailed
from lash.runtime.processes.worker import CONCURRENCY
from lash.runtime.standstill import standstill


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """What the command line asked for; `concurrency` is None where it said nothing."""

    module: str
    db: str
    concurrency: int | None
    until_idle: bool
    as_json: bool


def worker(request: WorkerRequest) -> int:
    """Run what a module holds; 0 when it was stopped, or came to rest with `until_idle`.

    Raises:
        ConfigurationError: `worker_module_invalid`, `usage_invalid`, and what declaring agents and
            processes raises.
        StoreError: The database cannot be used.
    """
    if request.db == MEMORY:
        raise ConfigurationError(
            "usage_invalid", "A :memory: database holds nothing that a worker could take up."
        )
    path = check_path(request.db)
    work = import_work(request.module)
    standstill.addFilter(_told_already)
    try:
        with own_stdout() as out:
            report = Report(out, request.db, work, as_json=request.as_json)
            asyncio.run(_Worker(request, work, report).run(WorkersStore(path, _CLOCK, report)))
    finally:
        standstill.removeFilter(_told_already)
    report.check()
    return ExitCode.DONE


_CLOCK = SystemClock(asyncio.sleep)


def _told_already(record: logging.LogRecord) -> bool:
    """Keeps lines back that the report has in its own words."""
    del record
    return False


class _Worker:
    def __init__(self, request: WorkerRequest, work: Work, report: Report) -> None:
        self._request = request
        self._work = work
        self._report = report
        self._stopping = asyncio.Event()

    async def run(self, store: WorkersStore) -> None:
        """Work until told to stop."""
        self._listen()
        runtime = await self._runtime(store)
        async with runtime:
            await self._work_on(runtime, store)
            self._report.stopping(idle=not self._stopping.is_set())
        self._report.stopped()

    async def _runtime(self, store: WorkersStore) -> Runtime:
        try:
            return Runtime(
                store,
                agents=self._work.agents,
                processes=self._work.processes,
                triggers=self._work.triggers,
                process_concurrency=self._request.concurrency or CONCURRENCY,
                on_event=self._event,
            )
        except BaseException:
            await store.aclose()
            raise

    async def _work_on(self, runtime: Runtime, store: WorkersStore) -> None:
        waits: list[asyncio.Task[object]] = [asyncio.create_task(self._stopping.wait())]
        waits += [asyncio.create_task(self._report.broken.wait())]
        if self._request.until_idle:
            waits.append(asyncio.create_task(_idle(runtime, store)))
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _event(self, event: RuntimeEvent) -> None:
        """What goes wrong around processes, and what an event means that cannot be started."""
        if isinstance(event, ProcessFaultEvent) and event.operation not in {"run", "drain"}:
            self._report.fault(event)
        elif isinstance(event, TriggerDeliveryFailed):
            self._report.delivery_failed(event)

    # --- stopping -------------------------------------------------------------------------------

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError):  # no such handlers here: Ctrl-C ends it at once
                loop.add_signal_handler(number, self._stop)

    def _stop(self) -> None:
        """Begin to stop. Who asks again has it end at once, as a kill would; that loses nothing."""
        self._stopping.set()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)


async def _idle(runtime: Runtime, store: WorkersStore) -> None:
    """Wait until nothing can go on without the outside. What rests between attempts can go on.

    A process is at rest once its row says what it waits for: before that it may still find that what
    it is about to wait for is there.
    """
    while True:
        await runtime.idle()
        due_ms = await store.next_runnable_at()
        if due_ms is not None:
            await _CLOCK.sleep(max(0.0, (due_ms - _CLOCK.now_ms()) / 1000))
        elif await _is_anything_run(runtime, store):
            await _CLOCK.sleep(POLL_FIRST_S)
        else:
            return


async def _is_anything_run(runtime: Runtime, store: WorkersStore) -> bool:
    """Whether a live worker holds a process that does not say that it waits."""
    owner = runtime.engine.claim_request().owner
    async for process in processes_of(store, ProcessFilter(status="running")):
        held = process.record.lease.held
        if held is not None and (held.owner == owner or runtime.engine.is_live_stranger(held)):
            return True
    return False
