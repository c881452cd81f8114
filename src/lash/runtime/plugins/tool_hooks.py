"""Asking plugins around a tool call, and putting their answers together (tools spec 2.7).

They are asked in the order of registration. What one puts in the place of the arguments, or of the
answer, holds for those behind it, and those in front of it are asked once more about it: they may refuse
it or hold it, and may not replace it again. So nothing is run that a plugin has not seen, whatever the
order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeAlias, TypeVar

import msgspec

from lash.attachments.returned import kept_value, told_again
from lash.core.errors import LashError
from lash.core.json import JsonObject, JsonValue, encode, to_json
from lash.core.text import spelled_out
from lash.effects.waits.model import RESOLUTION, AwaitEventKey
from lash.plugins.contexts import ToolCallHook
from lash.plugins.directives import (
    Abort,
    Answer,
    Deny,
    Hold,
    ReplaceArgs,
    Settled,
    Settling,
    stronger,
)
from lash.plugins.plugin import Plugin
from lash.plugins.registration import PluginSet
from lash.runtime.plugins.asking import asked, asked_at_once
from lash.runtime.plugins.states import EffectStates, PluginStates
from lash.runtime.selfwaits import inside
from lash.runtime.tool_calling import Word
from lash.tools.manifest import MATERIALIZE, ArgumentProjection
from lash.turn.tools import ToolFailed, ToolFailure, ToolOutput, ToolSuccess, failed

T = TypeVar("T")

_OUTPUT = msgspec.json.Decoder(ToolOutput)


@dataclass(frozen=True, slots=True)
class Passed:
    """The tool is to be run, with these arguments."""

    args: JsonObject


@dataclass(frozen=True, slots=True)
class Answered:
    """The call has its answer; the tool is not run."""

    output: ToolOutput


@dataclass(frozen=True, slots=True)
class Held:
    """The call waits until the outside has spoken to a plugin, about these arguments."""

    plugin_id: str
    hold: Hold
    args: JsonObject


BeforeOutcome: TypeAlias = Passed | Answered | Held


@dataclass(frozen=True, slots=True)
class HookedCall:
    """A call, as far as its hooks are concerned.

    Attributes:
        turn_id: The turn.
        call_id: The model's call.
        tool: The tool, by name.
        attempt: Which attempt this is.
        key: The same for every attempt of the call.
        answers: What the outside has said to plugins that held the call.
        argument_projection: How references in the arguments are handed to the tool.
    """

    turn_id: str
    call_id: str
    tool: str
    attempt: int
    key: str
    answers: Mapping[str, Word]
    argument_projection: ArgumentProjection = MATERIALIZE


class ToolHooks:
    """The hooks around the tool calls of one drive.

    Args:
        plugins: Whom to ask.
        states: What they remember.
        asks_offers: Ask with each call whether its tool is on offer, because no model was told.
    """

    def __init__(
        self, plugins: PluginSet, states: PluginStates, *, asks_offers: bool = False
    ) -> None:
        self._plugins = plugins
        self._asks_offers = asks_offers
        self.states = states

    @property
    def after_any(self) -> bool:
        """Whether anybody is asked about answers."""
        return bool(self._plugins.at("after_tool")) or self._plugins.shows is not None

    async def before(
        self, call: HookedCall, args: JsonObject, states: EffectStates
    ) -> BeforeOutcome:
        """What is to become of a call before its tool is run."""
        withheld = self._withheld(call)
        if withheld is not None:
            return Answered(withheld)

        def ask(plugin: Plugin, subject: JsonObject) -> object:
            return plugin.before_tool(self._hook(plugin, call, subject, states))

        def replacement(directive: object, subject: JsonObject) -> JsonObject | None:
            del subject
            return _args(directive.args) if isinstance(directive, ReplaceArgs) else None

        composed = _Composition(
            self._plugins.at("before_tool"),
            ask,
            replacement,
            (Abort, Deny, Answer),
            first_of_equals=False,
        )
        try:
            with inside(self.states.session_id):
                settled, changed = await composed.run(args)
            composed.tell_conflicts("before_tool", states)
            if settled is not None:
                return Answered(_output(settled))
        except _HookFailedError as failure:
            return Answered(failure.output("before_tool_call_failed"))
        if composed.holds:
            plugin_id = min(composed.holds)
            hold, held = composed.holds[plugin_id]
            return Held(plugin_id, hold, held)
        return Passed(changed)

    def _withheld(self, call: HookedCall) -> ToolOutput | None:
        """Why a call's tool is not on offer, where nobody was asked before."""
        if not self._asks_offers:
            return None
        for plugin in self._plugins.at("offers"):
            session = self.states.session(plugin.id)
            try:
                offered = asked_at_once(plugin, partial(plugin.offers, call.tool, session))
            except LashError as error:
                failure = _HookFailedError(plugin.id, error.message, str(error.code))
                return failure.output("before_tool_call_failed")
            if not offered:
                message = (
                    f"The tool {call.tool!r} is not on offer now: plugin {plugin.id!r} says so."
                )
                return failed("unavailable", "tool_unavailable", message, source="plugin")
        return None

    async def untold(self, held: Held, key: AwaitEventKey) -> ToolOutput | None:
        """Tell the outside by which key it answers; why that cannot be, if it cannot.

        Nobody can answer what nobody was asked, so the call fails then.
        """
        plugin = next(each for each in self._plugins.plugins if each.id == held.plugin_id)
        try:
            with inside(self.states.session_id):
                await asked(plugin, partial(held.hold.tell, key))
        except LashError as error:
            message = f"Plugin {plugin.id!r} held the call and told nobody: {error.message}"
            return _HookFailedError(plugin.id, message).output("before_tool_call_failed")
        return None

    async def after(
        self, call: HookedCall, args: JsonObject, output: ToolOutput, states: EffectStates
    ) -> ToolOutput:
        """What stands of an answer once the plugins have seen it."""

        def ask(plugin: Plugin, subject: ToolOutput) -> object:
            hook = self._hook(plugin, call, args, states)
            return plugin.after_tool(hook, _copy(subject))

        def replacement(directive: object, subject: ToolOutput) -> ToolOutput | None:
            if not isinstance(directive, Answer):
                return None
            before = subject.outcome
            if isinstance(before, ToolSuccess) and before.has_attachments:
                return _succeeded(told_again(directive.value, before.payload))
            return _succeeded(directive.value)

        composed = _Composition(
            self._plugins.at("after_tool"), ask, replacement, (Abort, Deny), first_of_equals=True
        )
        try:
            with inside(self.states.session_id):
                settled, changed = await composed.run(output)
            composed.tell_conflicts("after_tool", states)
            return changed if settled is None else _output(settled)
        except _HookFailedError as failure:
            return failure.output("after_tool_call_failed")

    def shown(
        self, call: HookedCall, args: JsonObject, output: ToolOutput, states: EffectStates
    ) -> str | None:
        """What the model is shown of an answer, if a plugin says it."""
        plugin = self._plugins.shows
        if plugin is None:
            return None
        hook = self._hook(plugin, call, args, states)
        try:
            text = asked_at_once(plugin, partial(plugin.show, hook, _copy(output)))
        except LashError as error:
            # The answer is kept; only what is shown of it is not.
            return f"[The answer could not be shown: {spelled_out(error.message)}]"
        if text is None or isinstance(text, str):
            return text if text is None else spelled_out(text)
        return f"[The answer could not be shown: {plugin.id!r} made no text of it.]"

    def _hook(
        self, plugin: Plugin, call: HookedCall, args: JsonObject, states: EffectStates
    ) -> ToolCallHook:
        # A hook may change what it is given; the journal must not see that.
        given = encode(args)
        word = call.answers.get(plugin.id)
        # A word about other arguments is no word about these.
        spoken = word is not None and encode(word.args) == given
        return ToolCallHook(
            session=self.states.session(plugin.id, states),
            turn_id=call.turn_id,
            call_id=call.call_id,
            tool=call.tool,
            args=msgspec.json.decode(given),
            attempt=call.attempt,
            idempotency_key=call.key,
            argument_projection=call.argument_projection,
            answer=RESOLUTION.decode(encode(word.resolution)) if word and spoken else None,
        )


class _HookFailedError(Exception):
    """A hook raised, or answered with what makes no sense: the call fails."""

    def __init__(self, plugin_id: str, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.plugin_id = plugin_id
        self.message = message
        self.code = code

    def output(self, code: str) -> ToolOutput:
        """The call's answer."""
        failure = ToolFailure(
            failure_class="internal",
            code=self.code or code,
            message=spelled_out(self.message),
            source="plugin",
        )
        return ToolOutput(outcome=ToolFailed(payload=failure))


class _Composition(Generic[T]):
    """Asks plugins about one subject, which any of them may replace once."""

    def __init__(
        self,
        plugins: Sequence[Plugin],
        ask: Callable[[Plugin, T], object],
        replacement: Callable[[object, T], T | None],
        settling: tuple[type[Settling], ...],
        *,
        first_of_equals: bool,
    ) -> None:
        self._plugins = plugins
        self._ask = ask
        self._replacement = replacement
        self._settling = settling
        self._first_of_equals = first_of_equals
        self._settled: Settled | None = None
        self._said: dict[str, str] = {}
        self.holds: dict[str, tuple[Hold, T]] = {}

    async def run(self, subject: T) -> tuple[Settled | None, T]:
        """What settles it, if anything does, and the subject as it stands in the end."""
        for index, plugin in enumerate(self._plugins):
            directive = await self._asked(plugin, subject)
            replaced = self._replaced(plugin, directive, subject)
            if replaced is None:
                self._take(plugin, directive, subject)
                continue
            subject = replaced
            for earlier in self._plugins[:index]:
                again = await self._asked(earlier, subject)
                if self._replaced(earlier, again, subject) is not None:
                    raise _HookFailedError(
                        plugin.id,
                        f"The plugins {earlier.id!r} and {plugin.id!r} both put something else in the "
                        "place of the same thing, so neither of them would hold. Leave one out, or "
                        "have one of them accept what the other makes of it.",
                        "plugin_directive_conflict",
                    )
                # Whether it is held is said about what is run, not about what was replaced.
                self.holds.pop(earlier.id, None)
                if not isinstance(again, Answer):
                    self._take(earlier, again, subject)
        return self._settled, subject

    def tell_conflicts(self, hook: str, states: EffectStates) -> None:
        """Tell those who watch the session whose word did not hold, and whose did."""
        if self._settled is None:
            return
        winner = self._settled.plugin_id
        said = {**dict.fromkeys(self.holds, "hold"), **self._said}
        for plugin_id in sorted(said.keys() - {winner}):
            payload: JsonObject = {
                "winner_plugin_id": winner,
                "winner_directive": said[winner],
                "ignored_plugin_id": plugin_id,
                "ignored_directive": said[plugin_id],
            }
            states.emit(winner, f"{hook}.directive_conflict", payload)

    def _replaced(self, plugin: Plugin, directive: object, subject: T) -> T | None:
        try:
            return self._replacement(directive, subject)
        except LashError as error:
            raise _HookFailedError(
                plugin.id,
                f"Plugin {plugin.id!r} answered with what is no JSON: {error.message}",
                str(error.code),
            ) from error

    async def _asked(self, plugin: Plugin, subject: T) -> object:
        try:
            return await asked(plugin, partial(self._ask, plugin, subject))
        except LashError as error:
            if error.code == "plugin_failed":
                raise _HookFailedError(plugin.id, error.message) from error
            raise _HookFailedError(
                plugin.id, f"Plugin {plugin.id!r} failed: {error.message}", str(error.code)
            ) from error

    def _take(self, plugin: Plugin, directive: object, subject: T) -> None:
        if directive is None:
            return
        if isinstance(directive, Hold) and Answer in self._settling:
            self.holds[plugin.id] = directive, subject
            return
        if not isinstance(directive, self._settling) or not _is_text(directive):
            raise _HookFailedError(
                plugin.id,
                f"Plugin {plugin.id!r} answered with {type(directive).__name__}, which means nothing "
                "here.",
                "plugin_directive_invalid",
            )
        self._said[plugin.id] = type(directive).__name__.lower()
        self._settled = stronger(
            self._settled, plugin.id, directive, first_of_equals=self._first_of_equals
        )


def _args(value: object) -> JsonObject:
    told: JsonValue = to_json(value)
    if not isinstance(told, dict):
        raise LashError("value_not_json", "arguments are a JSON object.")
    return told


def _is_text(directive: Settling) -> bool:
    """Whether what it says can be said."""
    if isinstance(directive, Answer):
        return True
    told: tuple[object, object] = (directive.message, directive.code)
    return all(isinstance(text, str) for text in told)


def _copy(output: ToolOutput) -> ToolOutput:
    """For a hook, which may change what it is given; the journal must not see that."""
    return _OUTPUT.decode(encode(output))


def _output(settled: Settled) -> ToolOutput:
    match settled.shown:
        case Answer(value=value):
            try:
                return _succeeded(value)
            except LashError as error:
                message = (
                    f"Plugin {settled.plugin_id!r} answered with what is no JSON: {error.message}"
                )
                raise _HookFailedError(settled.plugin_id, message, str(error.code)) from error
        case Deny(message=message, code=code) | Abort(message=message, code=code):
            failure = ToolFailure(
                failure_class="permission_denied",
                code=spelled_out(code),
                message=spelled_out(message),
                source="plugin",
            )
            return ToolOutput(outcome=ToolFailed(payload=failure))


def _succeeded(value: object) -> ToolOutput:
    """The output of a call that a plugin answers. Attachments may stand anywhere in its value."""
    kept = kept_value(value)
    return ToolOutput(
        outcome=ToolSuccess(payload=kept.payload, has_attachments=kept.has_attachments)
    )
