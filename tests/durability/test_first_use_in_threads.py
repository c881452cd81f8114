"""A process does not die of its own threads: what they share is made before there are any.

msgspec learns a row's type when it is first used, and a second thread that uses the type meanwhile
crashes the process with SIGSEGV. The writer and the readers of a database are such threads, and a
process that has just started uses every type for the first time.
"""

import json
import subprocess
import sys

LEARNED = """
import importlib, json, pkgutil
import lash, lash.stores.sqlite as sqlite

rows = {
    kind
    for module in pkgutil.iter_modules(sqlite.__path__)
    for kind in vars(importlib.import_module(f"{sqlite.__name__}.{module.name}")).values()
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")
}
print(json.dumps({kind.__qualname__: hasattr(kind, "__msgspec_cache__") for kind in rows}))
"""


def test_every_row_type_is_learned_when_it_is_imported() -> None:
    process = subprocess.run(
        [sys.executable, "-c", LEARNED], capture_output=True, text=True, timeout=60, check=True
    )
    learned: dict[str, bool] = json.loads(process.stdout)
    assert len(learned) >= 5
    assert [name for name, known in sorted(learned.items()) if not known] == []
