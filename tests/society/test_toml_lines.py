from __future__ import annotations

import pytest

from society.toml_lines import line_of, lines_of

TEXT = '''\
# a comment = 1
[society]
name = "x"
"quoted key" = 1
long = """
name = "not a key"
[not.a.table]
"""
a.b . c = 1

[[agent]]
name = "one"

[agent.options]
device = "cpu"

[[ agent ]]   # the second
options = { device = "cpu", rows = [
  1,
] }
[other.table]
key = 1
'''


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("society",), 2),
        (("society", "name"), 3),
        (("society", "quoted key"), 4),
        (("society", "long"), 5),
        (("society", "a", "b", "c"), 9),
        (("agent",), 11),
        (("agent", 0), 11),
        (("agent", 0, "name"), 12),
        (("agent", 0, "options"), 14),
        (("agent", 0, "options", "device"), 15),
        (("agent", 1), 17),
        (("agent", 1, "options", "device"), 18),
        (("agent", 1, "name"), 17),
        (("other", "table", "key"), 22),
    ],
)
def test_every_place_has_its_line_or_that_of_what_is_around_it(place, line):
    assert line_of(lines_of(TEXT), place) == line


def test_what_is_nowhere_has_no_line():
    assert line_of(lines_of(TEXT), ("xmpp", "port")) is None
    assert lines_of("") == {}
