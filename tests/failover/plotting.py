"""The times of a run as a picture: one dot for each, seconds to the right."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from tests.failover.running import Found

WIDTH, ROW, LEFT, RIGHT = 720, 44, 150, 24


def plot(found: Mapping[str, Found], ttl: float) -> str:
    """Draw them as SVG.

    Args:
        found: by lock.
        ttl: seconds after which a leader that gives no sign of life is dead.
    """
    rows = [
        (f"{lock}, {name}", times)
        for lock, each in found.items()
        for name, times in (("killed", each.killed), ("frozen", each.frozen))
        if times
    ]
    most = max(max(times) for _name, times in rows)
    end = max(1.0, 0.5 * (int(most / 0.5) + 1))
    height = ROW * (len(rows) + 1) + 20

    def x(seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * seconds / end

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="13"><rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="20">seconds until another one leads (TTL {ttl:g} s); bar: median</text>',
    ]
    bottom = 32 + ROW * len(rows)
    for tick in range(int(end / 0.5) + 1):
        at = x(tick * 0.5)
        drawn.append(f'<line x1="{at:.1f}" y1="32" x2="{at:.1f}" y2="{bottom}" stroke="#ddd"/>')
        drawn.append(f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{tick * 0.5:g}</text>')
    for number, (name, times) in enumerate(rows):
        y = 32 + ROW * number + ROW / 2
        drawn.append(f'<text x="{LEFT - 12}" y="{y + 4:.0f}" text-anchor="end">{name}</text>')
        for index, seconds in enumerate(times):
            up = y + (index % 5 - 2) * 5
            drawn.append(f'<circle cx="{x(seconds):.1f}" cy="{up:.1f}" r="3" fill="#1f77b4" opacity="0.7"/>')
        at = f"{x(statistics.median(times)):.1f}"
        ends = f'x1="{at}" y1="{y - 15:.0f}" x2="{at}" y2="{y + 15:.0f}"'
        drawn.append(f'<line {ends} stroke="#d62728" stroke-width="2"/>')
    return "\n".join([*drawn, "</svg>", ""])
