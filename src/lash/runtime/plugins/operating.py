"""Running operations of plugins: queries at once, commands and tasks as turns of their session.

A command is queued and driven like anything else that a session is to do, under its lease. It runs inside
the effect with which such a turn begins, so what it answers, remembers and queues is recorded together and
lands in one transaction.
"""

from functools import partial

import msgspec

from lash.core.errors import LashError
from lash.core.json import JsonObject, JsonValue, encode, to_json
from lash.effects.outcomes import (
    EffectFailed,
    EffectOutcome,
    PluginAnswer,
    QueuedPrompt,
    SyncExecutionEnvironmentOutcome,
)
from lash.plugins.contexts import OperationSession, PluginSession
from lash.plugins.operations import Operation
from lash.plugins.plugin import Plugin
from lash.plugins.registration import PluginSet
from lash.runtime.checks import check_id, check_prompt
from lash.runtime.events import Announce, TurnEvent
from lash.runtime.plugins.asking import asked
from lash.runtime.plugins.states import PluginStates
from lash.runtime.selfwaits import inside
from lash.runtime.turn_commit import TurnLedger
from lash.sessions.ingress import EnqueueRequest, UserInput
from lash.sessions.model import AcceptedTurn, RunOperation, SessionHead, TextItem, TurnInput
from lash.turn.outcome import FinalValue, Finished


async def queried(
    plugin: Plugin, operation: Operation, args: JsonObject, head: SessionHead | None
) -> JsonValue:
    """What a query answers; nothing can be remembered.

    Raises:
        LashError: `plugin_operation_args_invalid`, `plugin_operation_without_session`,
            `plugin_failed`, or the plugin's own.
    """
    session: PluginSession | None = None
    if head is not None:
        session = PluginStates(head, _unheard).session(plugin.id)
    return await _answer(plugin, operation, args, session)


class Operating:
    """One command or task of a plugin, as the turn that runs it."""

    def __init__(
        self,
        plugins: PluginSet,
        turn: AcceptedTurn,
        wanted: RunOperation,
        *,
        head: SessionHead,
        announce: Announce,
    ) -> None:
        self._plugins = plugins
        self._turn = turn
        self._wanted = wanted
        self._states = PluginStates(head, announce)
        self._answer: PluginAnswer | None = None

    @classmethod
    def of(
        cls, plugins: PluginSet, turn: AcceptedTurn, head: SessionHead, announce: Announce
    ) -> "Operating | None":
        """The operation that a turn runs; None where it is one of another kind."""
        wanted = turn.input.command
        if not isinstance(wanted, RunOperation):
            return None
        return cls(plugins, turn, wanted, head=head, announce=announce)

    async def performed(self, max_turns: int | None) -> EffectOutcome:
        """What it comes to. One that fails leaves what is remembered as it was, and queues nothing."""
        states, wanted = self._states.begin(), self._wanted
        try:
            operation = self._plugins.operation(wanted.plugin_id, wanted.name)
            seen = self._states.session(wanted.plugin_id, states)
            queued: list[QueuedPrompt] = []
            session = OperationSession(
                session_id=seen.session_id,
                agent=seen.agent,
                plugin_id=seen.plugin_id,
                options=seen.options,
                _keeper=states,
                _queued=queued,
            )
            plugin = self._plugins.plugin(wanted.plugin_id)
            with inside(seen.session_id):
                value = await _answer(plugin, operation, dict(wanted.args), session)
            for each in queued:
                _check(each)
        except LashError as error:
            return EffectFailed(code=str(error.code), message=error.message)
        return SyncExecutionEnvironmentOutcome(
            max_turns=max_turns,
            plugin_state=states.changes,
            answer=PluginAnswer(value=value, queued=tuple(queued)),
        )

    def took_place(self, outcome: EffectOutcome) -> None:
        """It has its outcome, now or when the turn was driven before."""
        if isinstance(outcome, SyncExecutionEnvironmentOutcome):
            self._answer = outcome.answer
            self._states.took_place(outcome.plugin_state)

    def book(self, ledger: TurnLedger) -> None:
        """Put into a turn's commit what it came to, unless it came to nothing."""
        if self._answer is None or not isinstance(ledger.outcome, Finished):
            return
        ledger.outcome = Finished(result=FinalValue(value=self._answer.value))
        ledger.plugin_state = self._states.to_commit
        ledger.queued = [
            EnqueueRequest(
                session_id=self._turn.session_id,
                item_id=f"{self._turn.turn_id}:queued:{number}",
                payload=UserInput(input=TurnInput(items=(TextItem(text=each.prompt),))),
                source_key=each.source_key,
            )
            for number, each in enumerate(self._answer.queued, 1)
        ]


async def _answer(
    plugin: Plugin, operation: Operation, args: JsonObject, session: PluginSession | None
) -> JsonValue:
    # It may keep or change what it is given; the turn's input must not see that.
    given: JsonObject = msgspec.json.decode(encode(args))
    call = operation.bound(given, session)
    return to_json(await asked(plugin, partial(call)))


def _check(queued: QueuedPrompt) -> None:
    check_prompt(queued.prompt)
    if queued.source_key is not None:
        check_id(queued.source_key, "source_key_invalid", "A source key")


def _unheard(event: TurnEvent) -> None:
    del event
