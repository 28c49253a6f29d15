"""What `docs/testing.md` shows is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"


def test_the_examples_of_the_page():
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = {"__name__": "page"}
    exec("\n".join(blocks), found)
    tests = [each for name, each in found.items() if name.startswith("test_")]
    assert len(tests) == 4
    for each in tests:
        each()
