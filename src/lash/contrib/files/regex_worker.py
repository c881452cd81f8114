"""Run as a program of its own: finds an expression in files that it is handed, until it is stopped.

An expression of somebody else's may take for ever, and would hold up its whole process meanwhile. It
imports nothing of lash.
"""

import json
import re
import sys

#: How much of a line is told.
MOST = 500


def cut(line: str, start: int) -> str:
    """A line as it is told: around what was found in it, if it is long."""
    if len(line) <= MOST:
        return line
    begin = max(0, min(start - MOST // 5, len(line) - MOST))
    before, after = "..." * (begin > 0), "..." * (begin + MOST < len(line))
    return f"{before}{line[begin : begin + MOST]}{after}"


def find(pattern: "re.Pattern[str]", data: bytes, most: int) -> "list[tuple[int, str]]":
    """The numbers and texts of the first lines that match."""
    found = []
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        text = line[:-1] if line.endswith("\r") else line
        match = pattern.search(text)
        if match is not None:
            found.append((number, cut(text, match.start())))
            if len(found) >= most:
                break
    return found


def main() -> None:
    """Serve on standard input and output."""
    given, told = sys.stdin.buffer, sys.stdout.buffer
    asked = json.loads(given.readline())
    try:
        pattern = re.compile(asked["pattern"], re.IGNORECASE if asked["ignore_case"] else 0)
    except (re.error, RecursionError, OverflowError) as error:
        told.write(json.dumps({"error": str(error)}).encode() + b"\n")
        told.flush()
        return
    told.write(b"{}\n")
    told.flush()
    while header := given.readline():
        size, most = map(int, header.split())
        found = find(pattern, given.read(size), most)
        told.write(json.dumps(found).encode() + b"\n")
        told.flush()


if __name__ == "__main__":
    main()
