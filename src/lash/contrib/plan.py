"""A tool by which a model keeps a plan where it and everybody else can see it: in the conversation."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Protocol

import msgspec

from lash.core.json import Data, JsonObject, to_json
from lash.tools.function import FunctionTool
from lash.tools.model import Tool, ToolError

#: How many steps a plan may have.
MAX_STEPS = 50

#: How long a step, or the explanation, may be, in characters.
MAX_TEXT = 2000

UPDATE_PLAN = "update_plan"


class PlanStep(Data):
    """One step of a plan."""

    step: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
    status: Literal["pending", "in_progress", "completed"] = "pending"


class PlanResult(Protocol):
    """A tool's answer in a session's history."""

    @property
    def tool(self) -> str:
        """The tool."""
        ...

    @property
    def text(self) -> str:
        """What the model was shown."""
        ...


class PlanMessage(Protocol):
    """A message of a session's history."""

    @property
    def tool_results(self) -> Sequence[PlanResult]:
        """The answers it gives."""
        ...


class Plan:
    """`update_plan`, for an agent's `tools`: the model writes down its steps and how they stand.

        planner = lash.Agent("planner", model=…, tools=Plan().tools())

    The plan is the tool's result, and is kept where results are: nothing else has to be. `current_plan`
    finds it again. At most 50 steps of 2000 characters, and one of them in progress.
    """

    def tools(self) -> list[Tool]:
        """The tool."""
        return [FunctionTool(update_plan, name=UPDATE_PLAN)]


def update_plan(
    plan: Annotated[list[PlanStep], msgspec.Meta(max_length=MAX_STEPS)],
    explanation: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] | None = None,
) -> JsonObject:
    """Write down the plan: every step, and how it stands. It replaces the plan before.

    Args:
        plan: All steps, in order; at most one of them is in progress.
        explanation: Why the plan changed.
    """
    under_way = [each.step for each in plan if each.status == "in_progress"]
    if len(under_way) > 1:
        raise ToolError(
            f"{len(under_way)} steps are in progress; at most one may be. Nothing was changed.",
            code="plan_invalid",
            failure_class="invalid_request",
        )
    # Every step with its status, also where it is the usual one: it is read by people.
    steps = [{"step": each.step, "status": each.status} for each in plan]
    told: dict[str, object] = {"plan": steps}
    if explanation:
        told["explanation"] = explanation
    result = to_json(told)
    return result if isinstance(result, dict) else {}


class _Kept(msgspec.Struct):
    """The plan in a result."""

    plan: list[PlanStep]


def current_plan(history: Iterable[PlanMessage]) -> Sequence[PlanStep] | None:
    """The plan as a session's history has it last; None if there is none.

    plan = current_plan(await session.history())
    """
    found: Sequence[PlanStep] | None = None
    for message in history:
        for result in message.tool_results:
            if result.tool != UPDATE_PLAN:
                continue
            try:
                found = msgspec.json.decode(result.text, type=_Kept).plan
            except msgspec.MsgspecError:
                continue  # a refusal
    return found
