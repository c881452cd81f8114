"""Turns of one conversation on LangGraph: a graph of model and tools, and one of its savers."""

import time
import uuid
from pathlib import Path
from typing import Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

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


class State(TypedDict):
    """What the graph carries on."""

    messages: Annotated[list[AnyMessage], add_messages]


async def model(state: State) -> dict[str, list[AnyMessage]]:
    made = 0
    for message in reversed(state["messages"]):
        if isinstance(message, HumanMessage):
            break
        made += isinstance(message, ToolMessage)
    if made == CALLS:
        return {"messages": [AIMessage(content=FINAL, id=uuid.uuid4().hex)]}
    call = {"id": f"c{made}", "name": "look_up", "args": arguments(made)}
    return {"messages": [AIMessage(content="", id=uuid.uuid4().hex, tool_calls=[call])]}


async def tools(state: State) -> dict[str, list[AnyMessage]]:
    (call,) = state["messages"][-1].tool_calls
    answer = ToolMessage(content=TOOL_RESULT, tool_call_id=call["id"], id=uuid.uuid4().hex)
    return {"messages": [answer]}


def after_model(state: State) -> str:
    return "tools" if state["messages"][-1].tool_calls else END


def graph() -> Any:
    graph = StateGraph(State)
    graph.add_node("model", model)
    graph.add_node("tools", tools)
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", after_model, ["tools", END])
    graph.add_edge("tools", "model")
    return graph


async def turns(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    file = folder / "langgraph.db"
    if flavour == "memory":
        return await conversation(InMemorySaver(), file, sizes)
    async with AsyncSqliteSaver.from_conn_string(str(file)) as saver:
        return await conversation(saver, file, sizes)


async def conversation(saver: Any, file: Path, sizes: Sizes) -> Figures:
    compiled = graph().compile(checkpointer=saver)
    config = {"configurable": {"thread_id": "bench"}, "recursion_limit": 100}
    took, kept = list[float](), list[int]()
    for _ in range(sizes["turns"]):
        began = time.perf_counter()
        said = HumanMessage(content=PROMPT, id=uuid.uuid4().hex)
        state = await compiled.ainvoke({"messages": [said]}, config, durability="sync")
        took.append((time.perf_counter() - began) * 1000)
        assert state["messages"][-1].content == FINAL
        kept.append(bytes_of(file))
    return turn_figures(took, kept, sizes)


if __name__ == "__main__":
    main({"turn": turns, "conversation": turns})
