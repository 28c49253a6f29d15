"""How agents learn: data, networks, training, prediction, and the folder that keeps models.

Plain synchronous code: no asyncio, no clock, no process-wide random state. An agent runs it in a thread,
hears of progress through a callback and stops it through ``is_cancelled``.
"""

from importlib.util import find_spec

for _needed in ("numpy", "torch", "safetensors"):
    if find_spec(_needed) is None:
        raise ModuleNotFoundError(
            f"learning needs {_needed}, which is not installed; in the folder of Locution: "
            "pip install -e '.[learning]'",
            name=_needed,
        )
