"""A server that does not keep to the protocol: `rude_server.py FOLDER MANNER`. Written without the package.

It speaks the protocol of 2025 by hand, so that it can do what the package would not let it do.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

FOLDER, MANNER = Path(sys.argv[1]), sys.argv[2]

TOOL: dict[str, Any] = {
    "name": "say",
    "description": "Says something.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
}


def note(line: str) -> None:
    with (FOLDER / "calls").open("a") as file:
        file.write(f"{line}\n")


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def answer(request: dict[str, Any], result: object) -> None:
    send({"jsonrpc": "2.0", "id": request["id"], "result": result})


def refuse(request: dict[str, Any], code: int, message: str) -> None:
    error = {"code": code, "message": message}
    send({"jsonrpc": "2.0", "id": request["id"], "error": error})


def tools() -> list[Any]:  # noqa: C901  one case for each manner
    match MANNER:
        case "bad-schema":
            outside = {**TOOL, "name": "outside", "inputSchema": _refers("https://a.example/s")}
            wrong = {
                **TOOL,
                "name": "wrong",
                "inputSchema": {"type": "object", "minProperties": -1},
            }
            return [outside, wrong, TOOL, TOOL]
        case "lies":
            promised = {"type": "object", "properties": {"n": {"type": "integer"}}}
            return [{**TOOL, "outputSchema": promised}]
        case "slow-pattern":
            pattern = {"type": "string", "pattern": "^(a+)+$"}
            schema = {"type": "object", "properties": {"text": pattern}}
            return [{**TOOL, "inputSchema": schema}]
        case "flood":
            return [{**TOOL, "name": f"t{number}"} for number in range(600)]
        case "shuffles":
            named = [{**TOOL, "name": name} for name in ("a-b", "a.b", "a_b")]
            return named if not (FOLDER / "again").exists() else named[::-1]
        case "no-list":
            return [{"name": "say"}]
        case "monstrous":
            large: Any = {"type": "object", "description": "x" * 10_000_000}
            useless = {"type": "object", "minProperties": -1}
            return [
                {**TOOL, "name": "large", "inputSchema": large},
                {**TOOL, "name": "deep", "inputSchema": _nested(45)},
                {**TOOL, "outputSchema": useless},
            ]
        case "too-deep":
            return [{**TOOL, "name": "deep", "inputSchema": _nested(60)}]
        case "counts":
            properties = {"count": {"type": "integer"}, "text": {"type": "string"}}
            counted = {"type": "object", "properties": properties, "required": ["count"]}
            return [{**TOOL, "inputSchema": counted}]
        case "storm":
            note("listed")
            return [TOOL]
        case _:
            return [TOOL]


def _refers(where: str) -> dict[str, Any]:
    return {"type": "object", "properties": {"text": {"$ref": where}}}


def _nested(levels: int) -> dict[str, Any]:
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        deep = {"type": "object", "properties": {"inner": {"anyOf": [deep]}}}
    return deep


def call(request: dict[str, Any]) -> None:  # noqa: C901  one case for each manner
    note(f"call {json.dumps(request['params']['arguments'], sort_keys=True)}")
    said = {"content": [{"type": "text", "text": "hello"}]}
    match MANNER:
        case "lies":
            answer(request, {**said, "structuredContent": {"n": "seven"}})
        case "huge":
            answer(request, {"content": [{"type": "text", "text": "x" * 3_000_000}]})
        case "huge-nameless":
            sys.stdout.write("y" * 3_000_000 + "\n")
            sys.stdout.flush()
        case "endless":
            while True:
                sys.stdout.write("z" * 100_000)
                sys.stdout.flush()
        case "larger":
            answer(request, {"content": [{"type": "text", "text": "x" * 50_000_000}]})
        case "storm":
            for _ in range(1000):
                send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
            answer(request, said)
        case "stderr":
            for _ in range(200):
                os.write(2, b"e" * 100_000)
            answer(request, said)
        case "deep-answer":
            answer(request, {**said, "structuredContent": _nested(60)})
        case "progress":
            token = request["params"]["_meta"]["progressToken"]
            for number in range(2000):
                told = {"progressToken": token, "progress": number}
                send({"jsonrpc": "2.0", "method": "notifications/progress", "params": told})
            answer(request, said)
        case "asks":
            for number in range(100):
                params = {"messages": [], "maxTokens": 1}
                asked = {"method": "sampling/createMessage", "params": params}
                send({"jsonrpc": "2.0", "id": f"q{number}", **asked})
            answers = [json.loads(sys.stdin.readline()) for _ in range(100)]
            note(f"refused {sum('error' in each for each in answers)}")
            answer(request, said)
        case "twice":
            answer(request, said)
            answer(request, said)
            answer({"id": 999}, said)
        case "no-result":
            answer(request, {"content": "not a list"})
        case "tells":
            print(os.environ["API_KEY"], "on stderr", file=sys.stderr, flush=True)
            refuse(request, -32000, f"{os.environ['API_KEY']} is no good key")
        case "refuses":
            refuse(request, -32602, "no such thing")
        case "surrogates":
            answer(request, {"content": [{"type": "text", "text": "a\ud83d"}]})
        case "freezes":
            note("frozen")
            os.kill(os.getpid(), signal.SIGSTOP)
        case "silent-calls":
            pass
        case _:
            answer(request, said)


def main() -> None:  # noqa: C901  one case for each method
    note("started")
    if MANNER == "exits":
        print("cannot start: secret-token-123", file=sys.stderr)
        sys.exit(3)
    if MANNER == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (FOLDER / "pid").write_text(str(os.getpid()))
    for line in sys.stdin:
        request = json.loads(line)
        method = request.get("method")
        if MANNER == "mute":
            continue
        if MANNER == "hates-discover" and method == "server/discover":
            sys.exit(1)
        if MANNER == "chatty":
            print("loading plugins…\n{not json}\n[1,2]", flush=True)
        match method:
            case "initialize":
                changing = {"tools": {"listChanged": True}}
                info = {"name": "rude", "version": "1"}
                protocol = "1999-01-01" if MANNER == "old" else request["params"]["protocolVersion"]
                result = {"protocolVersion": protocol, "capabilities": changing, "serverInfo": info}
                answer(request, result)
            case "tools/list":
                if MANNER == "endless-list":
                    cursor = str(time.monotonic_ns())
                    answer(request, {"tools": [{**TOOL, "name": cursor}], "nextCursor": cursor})
                    continue
                answer(request, {"tools": tools()})
            case "tools/call":
                call(request)
            case "ping":
                answer(request, {})
            case "notifications/cancelled":
                note(f"cancelled {request['params'].get('reason') is not None}")
            case "server/discover":
                if MANNER != "ignores-unknown":
                    refuse(request, -32601, "Method not found")
            case _:
                pass
    if MANNER == "stubborn":
        note("stdin closed")
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
