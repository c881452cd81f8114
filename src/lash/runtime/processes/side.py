"""The processes' side of a runtime: registry, worker, outbox and engines, put together."""

from collections.abc import Sequence
from typing import Protocol

from lash.core.errors import LashError
from lash.effects.hosts import EffectHost, StoreEffectHost
from lash.effects.trigger_commands import TriggerEmission
from lash.runtime.agents import AgentRegistry
from lash.runtime.attachment_side import AttachmentSide
from lash.runtime.children import ChildrenHost
from lash.runtime.environment import Environment
from lash.runtime.processes.call_side import CallSide
from lash.runtime.processes.engines import Engines, ProcessEngine
from lash.runtime.processes.function import ProcessFunctions
from lash.runtime.processes.python_engine import PythonEngine
from lash.runtime.processes.registry import ProcessRegistry
from lash.runtime.processes.tool_calls import ToolCallEngine
from lash.runtime.processes.turns import SessionTurnEngine
from lash.runtime.processes.wakes import WakeDelivery
from lash.runtime.processes.worker import ProcessWorker, WorkerHost
from lash.runtime.recorded_code import CodeServices
from lash.runtime.stores import Store
from lash.tools.triggers import ToolTriggers


class SideHost(WorkerHost, Protocol):
    """What the processes of a runtime need of it."""

    store: Store
    agents: AgentRegistry
    environment: Environment
    effects: EffectHost
    attachments: AttachmentSide
    closing: bool

    @property
    def arrivals(self) -> ChildrenHost:
        """Through which agents are asked."""
        ...

    def call_triggers(self, call_key: str, emissions: list[TriggerEmission]) -> ToolTriggers:
        """Through which one tool call emits events."""
        ...

    async def see_to(self, session_id: str) -> None:
        """Have a session's work taken up."""
        ...


class ProcessSide:
    """Everything a runtime has to do with processes.

    Args:
        host: The runtime.
        services: Time, chance and models for their code.
        engines: Engines besides those every runtime has.
    """

    def __init__(
        self, host: SideHost, services: CodeServices, engines: Sequence[ProcessEngine] = ()
    ) -> None:
        environment, store = host.environment, host.store
        self._host = host
        self.calls = CallSide(self)
        self.functions = ProcessFunctions(environment.processes)
        self.effects = host.effects
        if not host.effects.capabilities.owns_replay:
            # Nothing survives the runtime, but a process that rests or waits goes on within it.
            self.effects = StoreEffectHost(
                store, environment.clock, tier=store.tier, seams=environment.seams
            )
        self.registry = ProcessRegistry(
            store=store,
            clock=environment.clock,
            ids=environment.ids,
            seams=environment.seams,
            check_open=self._check_open,
        )
        self.wakes = WakeDelivery(
            store, environment.clock, environment.seams, host.see_to, host.resting
        )
        self.registry.woken = self.wakes.woken
        own: list[ProcessEngine] = [
            PythonEngine(self.functions),
            SessionTurnEngine(host.arrivals),
            ToolCallEngine(
                host.agents,
                self.effects,
                host.arrivals,
                environment.seams,
                self.calls,
                triggers=host.call_triggers,
                load_head=store.load_head,
                attachments=host.attachments.of_session,
            ),
        ]
        self.engines = Engines([*own, *engines])
        self.worker = ProcessWorker(
            host=host,
            store=store,
            effects=self.effects,
            registry=self.registry,
            agents=host.agents,
            engines=self.engines,
            services=services,
            attachments=host.attachments.of_session,
            clock=environment.clock,
            timings=environment.timings,
            concurrency=environment.process_concurrency,
            enabled=environment.run_processes,
        )

    @property
    def agents(self) -> AgentRegistry:
        """The agents that can be asked."""
        return self._host.agents

    async def start(self) -> None:
        """Take up what nobody runs, and deliver what was not delivered."""
        self.worker.spawn(self.wakes.run(), "lash-wakes")
        await self.worker.start()

    @property
    def quiet(self) -> bool:
        """Whether nothing here can go on without the outside."""
        return self.worker.quiet and self.wakes.quiet

    def _check_open(self) -> None:
        if self._host.closing:
            raise LashError("runtime_closed", "The runtime is closed; open it again to go on.")
