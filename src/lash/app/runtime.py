"""The runtime: a store, the agents it may run, and the work it keeps going."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast, get_args, overload
from weakref import WeakValueDictionary

from lash.app.agent import Agent
from lash.app.attachments import RuntimeAttachments
from lash.app.completions import Completions
from lash.app.model import ModelLike, Models
from lash.app.plugins import RuntimePlugin
from lash.app.processes import Processes
from lash.app.session import ParkedSession, Session
from lash.app.triggers import Triggers
from lash.attachments.policy import AttachmentPolicy
from lash.core.clock import Clock, IdSource, SystemClock, SystemIds
from lash.core.durations import milliseconds
from lash.core.errors import ConfigurationError, DirectError, LashError
from lash.core.json import JsonObject, JsonValue
from lash.core.leases import LeaseTimings
from lash.core.seams import SeamObserver, unobserved
from lash.core.tiers import DurabilityTier
from lash.effects.hosts import EffectHost
from lash.effects.journal import JournalEntry, RetireFinished, Retirement
from lash.effects.shielding import shielded
from lash.effects.transitions import DriftPolicy
from lash.llm.direct import DirectResult
from lash.plugins.plugin import Plugin
from lash.plugins.registration import PluginSet
from lash.runtime.agents import AgentRegistry
from lash.runtime.checks import check_id
from lash.runtime.engine import Engine
from lash.runtime.environment import Environment, OnEvent, unheard
from lash.runtime.lifecycle import delete, fork
from lash.runtime.operations import Operation
from lash.runtime.plugins.life import PluginLives
from lash.runtime.processes.function import ProcessFunction, ProcessFunctions
from lash.runtime.processes.worker import CONCURRENCY
from lash.runtime.replaying import ReplayReport, load_journal, replay_turn
from lash.runtime.stores import Store
from lash.runtime.triggers.events import TriggerEvent, TriggerEvents
from lash.sessions.checking import Finding
from lash.sessions.deleting import DeleteReport
from lash.sessions.forking import ForkRequest
from lash.sessions.maintenance import VacuumReport, VacuumRequest
from lash.sessions.model import AgentRef, SessionSummary

T = TypeVar("T")

MEMORY = ":memory:"


class Runtime:
    """Runs agents over one store. Open it with `async with`; that resumes unfinished work.

    Args:
        store: A path to a SQLite file; `":memory:"`, whose sessions die with the process; or a store
            of your own, which the runtime closes when it is closed.
        agents: The agents this process can run. Work of others is left for whoever has them.
        processes: The process functions this process can run; see `lash.process`.
        process_concurrency: How many processes run here at once; those that wait do not count.
        run_processes: Run processes here. Without, they are started and watched here and run by other
            workers over the same store.
        plugins: Plugins of every agent; they come before an agent's own.
        triggers: The events that may occur here; see `lash.TriggerEvent`.
        on_drift: What to do when an agent's instructions, tools or model changed under a turn that
            is resumed: use what was recorded and report it (`accept`), park the turn (`refuse`), or
            begin it again from its input under a new id (`restart`).
        on_event: Told what a person has to know of: turns that were parked or begun again.
        process_lifetime_keys: Let tools of a `":memory:"` runtime leave answers to the outside,
            although the keys die with the process.
        effects: Where effects are kept, if not in the store; for engines of your own.
        attachment_policy: What may become an attachment; by default everything up to 256 MiB.
        lease: How long a session stays this process's without a sign of life.
        clock: Where time comes from; the machine by default.
        ids: Where new ids come from; the machine by default.
        seams: Told when a turn passes a point at which a crash would be interesting; for tests.

    Raises:
        ConfigurationError: `agent_duplicate`, `model_invalid`, `provider_unknown`,
            `provider_not_installed`, `provider_not_configured`, `store_url_unknown`,
            `drift_policy_unknown`, `attachment_policy_invalid`, `process_duplicate`, `process_function_invalid`,
            `plugin_invalid`, `plugin_conflict`, `schema_projection_failed`,
            `trigger_event_duplicate`, `trigger_event_invalid`.
    """

    def __init__(
        self,
        store: str | Path | Store,
        *,
        agents: Sequence[Agent] = (),
        plugins: Sequence[Plugin] = (),
        processes: Sequence[ProcessFunction[..., Any]] = (),
        process_concurrency: int = CONCURRENCY,
        run_processes: bool = True,
        triggers: Sequence[TriggerEvent] = (),
        on_drift: DriftPolicy = "accept",
        on_event: OnEvent | None = None,
        process_lifetime_keys: bool = False,
        effects: EffectHost | None = None,
        attachment_policy: AttachmentPolicy | None = None,
        lease: LeaseTimings | None = None,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        seams: SeamObserver = unobserved,
    ) -> None:
        if isinstance(store, str | Path):
            _check_location(store)
        elif not hasattr(store, "tier"):
            raise ConfigurationError(
                "store_url_unknown",
                f"A runtime needs the path of a file, ':memory:' or a store, not {type(store).__name__}.",
            )
        _check_agents(agents)
        _check_listed("processes", processes, "process_function_invalid")
        _check_listed("triggers", triggers, "trigger_event_invalid")
        _check_drift_policy(on_drift)
        _check_attachment_policy(attachment_policy)
        self._location = store
        self._everywhere = PluginSet(plugins)
        everywhere = self._everywhere.plugins
        self._agents = AgentRegistry(agent.define(everywhere) for agent in agents)
        self._models = Models(self._agents)
        self._environment = Environment(
            clock=clock or SystemClock(asyncio.sleep),
            ids=ids or SystemIds(),
            timings=lease or LeaseTimings(),
            on_drift=on_drift,
            seams=seams,
            host=effects,
            process_lifetime_keys=process_lifetime_keys,
            resolve_model=self._models.resolve,
            on_event=on_event or unheard,
            processes=tuple(processes),
            process_concurrency=_check_concurrency(process_concurrency),
            run_processes=run_processes,
            triggers=tuple(triggers),
            attachment_policy=attachment_policy or AttachmentPolicy(),
        )
        ProcessFunctions(self._environment.processes)
        TriggerEvents(self._environment.triggers)
        self._plugins = PluginLives(
            (*everywhere, *(plugin for agent in agents for plugin in agent.plugins)),
            self._environment.clock,
        )
        self._engine: Engine | None = None
        self._opened: dict[str, int] = {}
        self._arrivals: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"Runtime({str(self._location)!r})"

    async def __aenter__(self) -> Self:
        """Open the store and pick up unfinished work in the background.

        Raises:
            ConfigurationError: `durable_store_required`, naming every part of the store that forgets.
            StoreError: The database cannot be used; the code says why and nothing was changed.
        """
        if self._engine is not None:
            raise LashError("runtime_closed", "The runtime is open already; open it only once.")
        store = await self._open()
        engine = Engine(store, self._agents, self._environment)
        try:
            await self._plugins.start()
            await engine.start()
        except BaseException:
            await shielded(self._close(engine))
            raise
        self._engine = engine
        return self

    async def _open(self) -> Store:
        location = self._location
        if not isinstance(location, str | Path):
            return location
        opening = asyncio.ensure_future(asyncio.to_thread(_open_store, location, self._environment))
        try:
            return await shielded(_result(opening))
        except asyncio.CancelledError:
            # The thread could not be stopped, and nobody else will close what it opened.
            if opening.exception() is None:
                await opening.result().aclose()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop driving, give leases back and close; accepted work resumes at the next open."""
        engine, self._engine = self._engine, None
        if engine is None:
            return
        # A cancelled caller must not leave drives behind that write to a closed store.
        await shielded(self._stop(engine))

    async def _stop(self, engine: Engine) -> None:
        try:
            await self._close(engine)
        finally:
            closed = await asyncio.gather(
                *(provider.aclose() for provider in self._models.providers()),
                return_exceptions=True,
            )
        failures = [outcome for outcome in closed if isinstance(outcome, BaseException)]
        if failures:
            raise failures[0]

    async def _close(self, engine: Engine) -> None:
        try:
            await _close(engine)
        finally:
            await self._plugins.stop()

    @property
    def durability(self) -> DurabilityTier:
        """`durable`, or `ephemeral` for `:memory:`."""
        return self.engine.store.tier

    @property
    def engine(self) -> Engine:
        """The drivers underneath. Not part of the public face."""
        if self._engine is None:
            raise LashError(
                "runtime_closed", "The runtime is not open; use it inside `async with`."
            )
        return self._engine

    def session(self, session_id: str, *, agent: str | None = None) -> Session:
        """A handle on a session, which begins to exist with its first accepted input.

        Args:
            session_id: Any non-blank string of yours.
            agent: The agent that runs it; may be left out when the session exists, or when only one
                agent is registered.

        Raises:
            LashError: `session_id_invalid`, `agent_unknown`.
        """
        check_id(session_id, "session_id_invalid", "A session id")
        if agent is not None:
            self._agents.newest(agent)
        return Session(self, session_id, agent)

    def plugin(self, plugin_id: str) -> RuntimePlugin:
        """One of the runtime's own plugins, to be asked what concerns no session.

        Raises:
            LashError: `plugin_unknown`. Plugins of single agents are asked through `Session.plugin`.
        """
        return RuntimePlugin(self._everywhere, plugin_id)

    def resume(self, parked: ParkedSession) -> Session:
        """Take up a session again that was parked, in this runtime or another one.

        Raises:
            LashError: `agent_unknown`.
        """
        return self.session(parked.session_id, agent=parked.agent)

    # --- sessions as a whole ----------------------------------------------------------------------

    async def fork(self, source_id: str, new_id: str, node_id: str | None) -> Session:
        """A new session that shares the history of another one; see `Session.fork`."""
        request = ForkRequest(source_id=source_id, new_id=new_id, node_id=node_id)
        head = await fork(self.engine, request)
        return Session(self, head.session_id, head.agent.name)

    async def delete_session(self, session_id: str) -> DeleteReport | None:
        """Remove a session with its history, queue, journals and promises, for ever.

        Its id is not used again: whatever is sent to it is refused with `session_deleted`. Child
        sessions and forks live on, and background work it began is not stopped; the report names them.

        Returns:
            What went with it, or None when there was no such session (any more).

        Raises:
            SessionBusyError: Another live process drives the session (retryable).
            LashError: `session_still_in_use`: it is driven here; nothing was changed.
        """
        check_id(session_id, "session_id_invalid", "A session id")
        return await delete(self.engine, session_id)

    async def vacuum(self, older_than: timedelta = timedelta(0)) -> VacuumReport:
        """Give back the space of what nobody will ask for any more.

        Removes what deleted sessions leave behind, what queued input said that has long been part of
        a turn, input that was taken back, and large outcomes that nothing refers to. Live history and
        unfinished work are never touched. Journals are `retire_journals`' to remove.

        Args:
            older_than: Leave alone what was settled more lately than this.

        Raises:
            LashError: `duration_invalid`. StoreError: Nothing of the last step was removed.
        """
        age_ms = milliseconds(older_than, "older_than")
        before_ms = self._environment.clock.now_ms() - age_ms
        request, total = VacuumRequest(before_ms=before_ms), VacuumReport()
        while True:  # a bounded piece at a time, so that no writer waits long
            step = await self.engine.store.vacuum(request)
            total = step.after(total)
            if not step.more or not step.removed:
                return total

    async def check(self) -> Sequence[Finding]:
        """What does not fit together in the store; nothing, in one that is whole. `lash doctor` shows it."""
        return await self.engine.store.check()

    # --- effects of the host's own ----------------------------------------------------------------

    def operation(self, operation_id: str) -> Operation:
        """A named piece of host code whose steps, waits and model calls are recorded.

            async with runtime.operation("import-7") as op:
                rows = await op.step(load, "orders.csv")

        Raises:
            LashError: `operation_id_invalid`.
        """
        check_id(operation_id, "operation_id_invalid", "An operation id")
        return Operation(self.engine.operations, operation_id)

    @overload
    async def direct(
        self,
        prompt: str,
        *,
        model: ModelLike | None = None,
        instructions: str = "",
        id: str | None = None,
        usage_source: str = "direct",
    ) -> DirectResult[str]: ...

    @overload
    async def direct(
        self,
        prompt: str,
        *,
        output: type[T],
        model: ModelLike | None = None,
        instructions: str = "",
        id: str | None = None,
        usage_source: str = "direct",
    ) -> DirectResult[T]: ...

    @overload
    async def direct(
        self,
        prompt: str,
        *,
        output: JsonObject,
        model: ModelLike | None = None,
        instructions: str = "",
        id: str | None = None,
        usage_source: str = "direct",
    ) -> DirectResult[JsonValue]: ...

    async def direct(
        self,
        prompt: str,
        *,
        output: object = None,
        model: ModelLike | None = None,
        instructions: str = "",
        id: str | None = None,  # noqa: A002  what the face calls it everywhere
        usage_source: str = "direct",
    ) -> DirectResult[object]:
        """Ask a model once, outside any session.

        Args:
            prompt: What to ask.
            output: None for text, `dict` for any JSON object, a type, or a JSON schema; the answer is
                checked against it.
            model: Which model; that of the only agent by default.
            instructions: The system prompt.
            id: Your own name for the request. Asked again under it, in any process, the recorded
                answer is given and nothing is paid twice; another prompt under it is refused. A
                model that did not answer may be asked again.
            usage_source: In whose name the tokens are booked.

        Raises:
            DirectError: `direct_failed`, `invalid_structured_output`.
            ReplayError: `effect_replay_mismatch`: the id was used for another request.
            ConfigurationError: `direct_request_invalid`, `agent_ambiguous`, and what resolving the
                model raises.
        """
        if id is not None:
            check_id(id, "operation_id_invalid", "The id of a direct completion")
        chosen = id if id is not None else self._environment.ids.new("direct")
        failure: DirectError | None = None
        async with self.operation(f"direct:{chosen}") as operation:
            try:
                return await operation.ask(
                    prompt,
                    output=output,
                    model=model,
                    instructions=instructions,
                    key="request",
                    usage_source=usage_source,
                    keep_failures=False,
                )
            except DirectError as error:
                failure = error  # the operation is over all the same
        raise failure

    @property
    def processes(self) -> Processes:
        """Background work: start it, look at it, steer it."""
        return Processes(self.engine)

    @property
    def triggers(self) -> Triggers:
        """Events and what they start: subscribe to them, emit them, look at what came of it."""
        return Triggers(self.engine)

    @property
    def attachments(self) -> RuntimeAttachments:
        """Files and pictures of all sessions together."""
        return RuntimeAttachments(self.engine)

    @property
    def completions(self) -> Completions:
        """Answers what waits for the outside."""
        return Completions(self.engine, self.engine.attachments.answer)

    # --- looking at what was recorded -------------------------------------------------------------

    async def journal(self, session_id: str, turn_id: str) -> Sequence[JournalEntry]:
        """What a turn recorded so far, in order. Empty once retention has removed it.

        Raises:
            LashError: `session_unknown`, `turn_unknown`.
        """
        check_id(turn_id, "turn_id_invalid", "A turn id")
        return await load_journal(self.engine.store, session_id, turn_id)

    async def replay(self, session_id: str, turn_id: str) -> ReplayReport:
        """Drive a turn again against its journal, with nothing executed and nothing written.

        Tells whether the agents registered here still come to the same, and where they first differ
        if not: a test that finds a clock, a random id or an unsorted set before production does.

        Raises:
            LashError: `session_unknown`, `turn_unknown`, `agent_missing`.
        """
        check_id(turn_id, "turn_id_invalid", "A turn id")
        engine = self.engine
        return await replay_turn(
            session_id,
            turn_id,
            store=engine.store,
            effects=engine.effects,
            agents=self._agents,
            clock=self._environment.clock,
        )

    async def retire_journals(self, older_than: timedelta) -> Retirement:
        """Remove the records and waits of work that was finished longer ago than `older_than`.

        Sessions, their history and their turns stay; `lash replay` of such turns is over, and an
        operation that is entered again runs again. Unfinished work is never touched.

        Raises:
            LashError: `effect_journal_retirement_unsupported` in a `":memory:"` runtime;
                `duration_invalid`.
        """
        age_ms = milliseconds(older_than, "older_than")
        before_ms = self._environment.clock.now_ms() - age_ms
        return await self.engine.effects.retire_effect_journal(RetireFinished(before_ms=before_ms))

    # --- sessions and quiet -----------------------------------------------------------------------

    async def sessions(self) -> Sequence[SessionSummary]:
        """All sessions in the store, most recently changed first."""
        return await self.engine.store.list_sessions()

    async def idle(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  part of the face
        """Wait until nothing accepted can go on without the outside.

        Args:
            timeout: Seconds to wait at most; None for as long as it takes.

        Raises:
            LashError: `idle_timeout`, retryable; the work goes on.
        """
        try:
            async with asyncio.timeout(timeout):
                await self.engine.sweep.idle()
        except TimeoutError as error:
            raise LashError(
                "idle_timeout", f"Work was still going on after {timeout} s; it continues."
            ) from error

    def arrival(self, session_id: str) -> asyncio.Lock:
        """Keeps the callers of one session in their order; free as soon as nobody uses it."""
        return self._arrivals.setdefault(session_id, asyncio.Lock())

    @property
    def ids(self) -> IdSource:
        """Where new ids come from."""
        return self._environment.ids

    def provider_of(self, model: str) -> str:
        """The provider that serves a model, by name.

        Raises:
            ConfigurationError: What resolving the model raises.
        """
        return self._models.resolve(model).provider.kind

    def opened(self, session_id: str, change: int) -> int:
        """Count the handles on a session that are held open; how many there are now."""
        held = self._opened.get(session_id, 0) + change
        if held > 0:
            self._opened[session_id] = held
        else:
            self._opened.pop(session_id, None)
        return held

    async def agent_for(
        self, session_id: str, name: str | None, *, recorded_will_do: bool = False
    ) -> AgentRef:
        """Which agent takes a session's new input.

        With `recorded_will_do`, an agent that is not registered here is taken as the session has it:
        whoever has it does the work.

        Raises:
            ConfigurationError: `agent_unknown`, `agent_ambiguous`.
        """
        head = None
        if name is None or (recorded_will_do and name not in self._agents.names):
            head = await self.engine.store.load_head(session_id)
        if head is not None and name in {None, head.agent.name}:
            name = head.agent.name
            if recorded_will_do and name not in self._agents.names:
                return head.agent
        if name is None:
            if len(self._agents.names) == 1:
                name = self._agents.names[0]
            elif self._agents.names:
                known = ", ".join(self._agents.names)
                raise ConfigurationError(
                    "agent_ambiguous",
                    f"Session {session_id!r} is new and several agents are registered ({known}); "
                    "say which one runs it: runtime.session(id, agent=…).",
                )
            else:
                raise ConfigurationError(
                    "agent_unknown",
                    "This runtime has no agents; pass some with Runtime(…, agents=[…]).",
                )
        return self._agents.newest(name).ref


def _check_location(location: str | Path) -> None:
    text = str(location)
    scheme, separator, _ = text.partition("://")
    if separator:
        raise ConfigurationError(
            "store_url_unknown",
            f"There is no store for {scheme}:// URLs; pass the path of a SQLite file, or ':memory:'.",
            scheme=scheme,
        )
    if not text.strip():
        raise ConfigurationError(
            "store_url_unknown",
            "The store's path is blank; pass the path of a file, or ':memory:'.",
        )


def _check_concurrency(limit: object) -> int:
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ConfigurationError(
            "process_function_invalid",
            f"process_concurrency must be a whole number of at least 1, not {limit!r}.",
        )
    return limit


def _check_agents(agents: object) -> None:
    listed = isinstance(agents, Sequence) and not isinstance(agents, str)
    if not listed or not all(
        isinstance(agent, Agent) for agent in cast("Sequence[object]", agents)
    ):
        raise ConfigurationError(
            "agent_invalid", "A runtime takes a list of agents: Runtime(…, agents=[lash.Agent(…)])."
        )


def _check_listed(name: str, given: object, code: str) -> None:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigurationError(code, f"A runtime takes a list of {name}: Runtime(…, {name}=[…]).")


def _check_drift_policy(policy: str) -> None:
    known = get_args(DriftPolicy)
    if policy not in known:
        raise ConfigurationError(
            "drift_policy_unknown",
            f"on_drift={policy!r} is not known; choose one of {', '.join(map(repr, known))}.",
            known=known,
        )


def _check_attachment_policy(policy: object) -> None:
    if policy is not None and not isinstance(policy, AttachmentPolicy):
        raise ConfigurationError(
            "attachment_policy_invalid",
            f"attachment_policy must be a lash.AttachmentPolicy(…), not {type(policy).__name__}.",
        )


async def _close(engine: Engine) -> None:
    try:
        await engine.stop()
    finally:
        await engine.store.aclose()


async def _result(store: "asyncio.Future[Store]") -> Store:
    return await store


def _open_store(location: str | Path, environment: Environment) -> Store:
    if str(location) == MEMORY:
        from lash.stores.memory import MemoryStore

        return MemoryStore(environment.clock, seams=environment.seams)
    from lash.stores.sqlite import SqliteStore

    return SqliteStore(Path(location), environment.clock, seams=environment.seams)
