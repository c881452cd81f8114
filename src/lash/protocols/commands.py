"""Protocols of session commands: what a turn does that does not ask its agent (spec 3.2, 6.4). Pure."""

from collections.abc import Sequence

import msgspec

from lash.core.json import JsonValue
from lash.llm.request import LlmMessage, TextBlock
from lash.llm.response import LlmResponse, TextPart
from lash.turn.driver import (
    DriverAction,
    EmitAction,
    ExecResult,
    Finish,
    StartLlm,
    TurnView,
)
from lash.turn.events import ErrorReported, LlmResponded
from lash.turn.messages import join_prose
from lash.turn.outcome import (
    AssistantMessage,
    FinalValue,
    Finished,
    ProviderStopped,
    RuntimeStopped,
    Stopped,
    TurnIssue,
)
from lash.turn.tools import CompletedToolCall

_SUMMARISE = """\
Summarise the conversation so far for somebody who goes on with it and sees only your summary. Keep \
what was asked for and decided, facts and names, numbers and ids exactly as they are, what was done \
with which result, and what is still open. Leave out greetings and detours. Write prose or lists, \
no preamble."""


class _Unanswering:
    """What protocols have in common that run neither tools nor code."""

    def handle_tool_results(
        self, turn: TurnView, results: Sequence[CompletedToolCall]
    ) -> Sequence[DriverAction]:
        """No tools are on offer; being given results ends the turn."""
        del turn, results
        return _unexpected("tools")

    def handle_exec_result(
        self, turn: TurnView, result: ExecResult, driver_state: JsonValue
    ) -> Sequence[DriverAction]:
        """No code is run; being given a result ends the turn."""
        del turn, result, driver_state
        return _unexpected("code")


class CompactionProtocol(_Unanswering):
    """Has the model summarise what it sees. The answer is the summary.

    Args:
        instructions: What the summary must keep beside what it keeps anyway.
    """

    def __init__(self, instructions: str) -> None:
        self._instructions = instructions

    def prepare_protocol_iteration(self, turn: TurnView) -> Sequence[DriverAction]:
        """Ask for the summary; there is none of nothing."""
        if not turn.messages:
            return (Finish(outcome=Finished(result=AssistantMessage(text=""))),)
        wanted = "\n\n".join(part for part in (_SUMMARISE, self._instructions.strip()) if part)
        request = turn.request()
        asked = LlmMessage(role="user", blocks=(TextBlock(text=wanted),))
        messages = (*request.messages, asked)
        # The tools stay, as part of the prefix that providers have cached; none is to be called.
        asked_for = msgspec.structs.replace(request, messages=messages, tool_choice="none")
        return (StartLlm(request=asked_for),)

    def handle_llm_success(
        self, turn: TurnView, response: LlmResponse, driver_state: JsonValue, *, text_streamed: bool
    ) -> Sequence[DriverAction]:
        """Finish with the summary."""
        del driver_state, text_streamed
        said = [part.text for part in response.parts if isinstance(part, TextPart)]
        text = join_prose(said).strip() or response.full_text.strip()
        responded = EmitAction(event=LlmResponded(protocol_iteration=turn.iteration, content=text))
        if text:
            return (responded, Finish(outcome=Finished(result=AssistantMessage(text=text))))
        issue = TurnIssue(
            kind="llm_provider",
            code="empty_response",
            message="The model gave no summary; the conversation stays as it is.",
            retryable=True,
        )
        stopped = Stopped(reason=ProviderStopped())
        return (responded, EmitAction(event=ErrorReported(issue=issue)), Finish(outcome=stopped))


class ConfigureProtocol(_Unanswering):
    """Asks nobody: what the command changes is part of its commit.

    Args:
        refused: Why nothing is changed.
    """

    def __init__(self, refused: TurnIssue | None = None) -> None:
        self._refused = refused

    def prepare_protocol_iteration(self, turn: TurnView) -> Sequence[DriverAction]:
        """Finish."""
        del turn
        if self._refused is not None:
            stopped = Stopped(reason=RuntimeStopped())
            return (EmitAction(event=ErrorReported(issue=self._refused)), Finish(outcome=stopped))
        return (Finish(outcome=Finished(result=FinalValue())),)

    def handle_llm_success(
        self, turn: TurnView, response: LlmResponse, driver_state: JsonValue, *, text_streamed: bool
    ) -> Sequence[DriverAction]:
        """No model is asked; being given an answer ends the turn."""
        del turn, response, driver_state, text_streamed
        return _unexpected("a model's answer")


def _unexpected(what: str) -> Sequence[DriverAction]:
    message = f"A session command was given {what}, which it did not ask for."
    issue = TurnIssue(kind="session_command", message=message)
    return (
        EmitAction(event=ErrorReported(issue=issue)),
        Finish(outcome=Stopped(reason=RuntimeStopped())),
    )
