"""Turns of one conversation on the OpenAI Agents SDK: the history in memory, or in its SQLite session."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

from agents import Agent, ModelResponse, RunConfig, Runner, SQLiteSession, Usage, function_tool
from agents.models.interface import Model
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

from side_by_side.programs.common import (
    CALLS,
    FINAL,
    PROMPT,
    TOOL_RESULT,
    Figures,
    Sizes,
    arguments,
    bytes_of,
    main,
    turn_figures,
)


class Scripted(Model):
    """Calls the tool so many times, and then answers."""

    async def get_response(self, *given: Any, **more: Any) -> Any:
        """Answer what was said so far."""
        said = more["input"] if "input" in more else given[1]
        made = 0
        for item in reversed(said if isinstance(said, list) else []):
            if item.get("role") == "user":
                break
            made += item.get("type") == "function_call_output"
        output = _answer() if made == CALLS else _call(made)
        return ModelResponse(output=[output], usage=Usage(), response_id=None)

    def stream_response(self, *given: Any, **more: Any) -> Any:
        """Nothing here is streamed."""
        raise NotImplementedError


def _call(number: int) -> ResponseFunctionToolCall:
    return ResponseFunctionToolCall(
        id=f"fc{uuid.uuid4().hex}",
        call_id=f"c{uuid.uuid4().hex}",
        type="function_call",
        name="look_up",
        arguments=json.dumps(arguments(number)),
    )


def _answer() -> ResponseOutputMessage:
    text = ResponseOutputText(text=FINAL, type="output_text", annotations=[], logprobs=[])
    return ResponseOutputMessage(
        id=uuid.uuid4().hex, type="message", role="assistant", status="completed", content=[text]
    )


@function_tool
async def look_up(q: str, k: int) -> str:
    """Look up something."""
    del q, k
    return TOOL_RESULT


async def turns(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    agent = Agent(name="bench", instructions="Be brief.", model=Scripted(), tools=[look_up])
    file = folder / "agents.db"
    session = SQLiteSession("bench", file) if flavour == "sqlite" else None
    run = RunConfig(tracing_disabled=True)
    took, kept, history = list[float](), list[int](), list[Any]()
    for _ in range(sizes["turns"]):
        began = time.perf_counter()
        said: Any = PROMPT if session else [*history, {"role": "user", "content": PROMPT}]
        result = await Runner.run(agent, said, session=session, max_turns=50, run_config=run)
        took.append((time.perf_counter() - began) * 1000)
        assert result.final_output == FINAL
        history = [] if session else result.to_input_list()
        kept.append(bytes_of(file))
    return turn_figures(took, kept, sizes)


if __name__ == "__main__":
    main({"turn": turns, "conversation": turns})
