"""Turns of one conversation on Pydantic AI: with the history in memory, or as durable workflows of DBOS."""

import time
from pathlib import Path
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

from side_by_side.programs.common import (
    CALLS,
    FINAL,
    PROMPT,
    TOOL_RESULT,
    Figures,
    Sizes,
    arguments,
    main,
    turn_figures,
)


def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    del info
    made = 0
    for message in reversed(messages):
        if isinstance(message, ModelRequest):
            if any(isinstance(part, UserPromptPart) for part in message.parts):
                break
            made += sum(isinstance(part, ToolReturnPart) for part in message.parts)
    if made == CALLS:
        return ModelResponse(parts=[TextPart(FINAL)])
    return ModelResponse(parts=[ToolCallPart("look_up", arguments(made), tool_call_id=f"c{made}")])


async def answer(q: str, k: int) -> str:
    """Look up something."""
    del q, k
    return TOOL_RESULT


async def measured(ask: Any, sizes: Sizes) -> Figures:
    took, history = list[float](), None
    for _ in range(sizes["turns"]):
        began = time.perf_counter()
        result = await ask(PROMPT, history)
        took.append((time.perf_counter() - began) * 1000)
        assert result.output == FINAL
        history = result.all_messages()
    return turn_figures(took, [0] * len(took), sizes)


async def turns(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    if flavour == "dbos":
        return await durable_turns(folder, sizes)
    agent = Agent(FunctionModel(model), name="bench")
    agent.tool_plain(name="look_up")(answer)

    async def ask(prompt: str, history: Any) -> Any:
        return await agent.run(prompt, message_history=history)

    return await measured(ask, sizes)


async def durable_turns(folder: Path, sizes: Sizes) -> Figures:
    from dbos import DBOS
    from pydantic_ai.durable_exec.dbos import DBOSDurability

    url = f"sqlite:///{folder / 'dbos.db'}"
    config: Any = {"name": "bench", "system_database_url": url, "log_level": "ERROR"}
    DBOS(config=config)
    agent = Agent(FunctionModel(model), name="bench", capabilities=[DBOSDurability()])
    agent.tool_plain(name="look_up")(DBOS.step(name="look_up")(answer))

    @DBOS.workflow()
    async def ask(prompt: str, history: Any) -> Any:
        return await agent.run(prompt, message_history=history)

    DBOS.launch()
    try:
        return await measured(ask, sizes)
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    main({"turn": turns, "conversation": turns})
