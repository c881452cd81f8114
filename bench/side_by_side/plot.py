"""Draws results: bars for each measure, on a scale of powers of ten."""

import math
from html import escape

from side_by_side.results import CONTENDERS, Results
from side_by_side.telling import settings, shown
from side_by_side.workloads import MEASURES

_WIDTH, _LABEL, _BAR, _LINE, _GAP = 860, 250, 470, 18, 26
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.title{font-weight:600}.note{fill:#777}"
    ".lash{fill:#2563eb}.peer{fill:#b8bcc4}.limit{fill:#dfe3ea}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.note{fill:#999}.peer{fill:#5b6270}.limit{fill:#3a404c}}"
)


def svg(results: Results) -> str:
    """A picture of everything that was measured of more than one contender."""
    body, y = [], 20
    for measure in MEASURES.values():
        found = [
            (name, median)
            for name in results.figures
            if (median := results.median(name, measure.name)) is not None and median > 0
        ]
        if len(found) < 2:
            continue
        body.append(f'<text class="title" x="0" y="{y}">{escape(measure.title)}</text>')
        better = "more is better" if measure.more_is_better else "less is better"
        body.append(f'<text class="note" x="{_WIDTH}" y="{y}" text-anchor="end">{better}</text>')
        y += _LINE
        low, high = _scale([median for _, median in found])
        for name, median in found:
            body.append(_bar(name, y, (math.log10(median) - low) / (high - low)))
            at = _LABEL + _BAR + 8
            body.append(f'<text x="{at}" y="{y}">{escape(shown(measure.name, median))}</text>')
            y += _LINE
        y += _GAP - _LINE + 8
    body.append(f'<text class="note" x="0" y="{y}">{escape(settings(results))}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 12}" role="img">'
    return "\n".join((head, f"<style>{_STYLE}</style>", *body, "</svg>", ""))


def _scale(figures: list[float]) -> tuple[float, float]:
    """The powers of ten around the figures; the least of them still has a bar."""
    low = math.floor(math.log10(min(figures)) - 0.3)
    return low, max(math.ceil(math.log10(max(figures))), low + 1)


def _bar(name: str, y: int, part: float) -> str:
    kind = "peer" if CONTENDERS[name].environment is not None else "limit"
    if name.startswith("lash"):
        kind = "lash"
    label = (
        f'<text x="{_LABEL - 8}" y="{y}" text-anchor="end">{escape(CONTENDERS[name].title)}</text>'
    )
    width = max(2, round(part * _BAR))
    bar = f'<rect class="{kind}" x="{_LABEL}" y="{y - 11}" width="{width}" height="13" rx="2"/>'
    return label + bar
