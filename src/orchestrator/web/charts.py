"""Plots as SVG made on the server, of our numbers and cleaned labels: no style, no script, colours by class."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import leather
from markupsafe import Markup

from orchestrator.words.marks import clean

MOST_POINTS = 120
MOST_TICKS = 8
_TICKS_OF_BARS = 6
_ABOUT = 1 - 1e-9  # a step that is too small by a rounding is large enough
LABEL_CHARS = 26
WIDTH = 640
_ROW, _AROUND, _COLUMNS_HEIGHT = 32, 84, 260
_LOOKS = ("fill", "stroke", "stroke-width", "font-family", "font-size", "version")
_LONG = re.compile(r"-?\d+\.\d{2,}")

leather.theme.margin = 0.045
_CROPPED = 12  # of that on three sides: only the last label on the right needs it
leather.theme.tick_font_char_width = 8


@dataclass(frozen=True, slots=True)
class Point:
    """`said` is the value as people read it."""

    label: str
    value: float
    said: str


def columns(title: str, points: Sequence[Point], said: Callable[[float], str]) -> Markup:
    """Upright, in their order; some of the labels below. Empty when there is nothing to see."""
    points = points[-MOST_POINTS:]
    if not _is_any(points):
        return Markup()
    chart = leather.Chart()
    names = _names(points)
    chart.add_columns(list(zip(names, _values(points), strict=True)), fill_color="bar")
    step = -(-len(names) // MOST_TICKS)
    chart.add_x_axis(ticks=names[::-1][::step][::-1], tick_formatter=lambda value, *_: _bare(value))
    chart.add_y_axis(tick_formatter=lambda value, *_: said(float(value)))
    return _svg(chart, title, points, _COLUMNS_HEIGHT)


def bars(title: str, points: Sequence[Point], said: Callable[[float], str]) -> Markup:
    """Lying, the first on top. Empty when there is nothing to see."""
    points = points[:MOST_POINTS]
    if not _is_any(points):
        return Markup()
    chart = leather.Chart()
    chart.add_bars(list(zip(_values(points), _names(points), strict=True)), fill_color="bar")
    ticks = even_ticks(max(_values(points)))
    chart.add_x_scale(0, ticks[-1])
    chart.add_x_axis(ticks=ticks, tick_formatter=lambda value, *_: said(float(value)))
    chart.add_y_axis(tick_formatter=lambda value, *_: _bare(value))
    return _svg(chart, title, points[::-1], _AROUND + _ROW * len(points))


def even_ticks(most: float) -> list[float]:
    """From 0 to the first that is not below `most`, which is above 0: at most six, in steps of 1, 2 or 5 times a
    power of ten.
    """
    least = most / (_TICKS_OF_BARS - 1)
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * _ABOUT)
    return [step * number for number in range(math.ceil(most / step * _ABOUT) + 1)]


def _is_any(points: Sequence[Point]) -> bool:
    return any(point.value > 0 for point in points)


def _values(points: Sequence[Point]) -> list[float]:
    return [max(point.value, 0.0) for point in points]


def _names(points: Sequence[Point]) -> list[str]:
    """Each another one, or two with the same label would be drawn as one."""
    return [f"{number}\0{clean(point.label, LABEL_CHARS)}" for number, point in enumerate(points)]


def _bare(name: Any) -> str:
    return str(name).partition("\0")[2]


def _svg(chart: Any, title: str, points: Sequence[Point], height: int) -> Markup:
    group = chart.to_svg_group(WIDTH, height)
    group.remove(group[0])  # the ground: the page has its own
    for element in group.iter():
        _undress(element)
    shown = group.iter("rect")
    for rect, point in zip(shown, points, strict=True):
        ET.SubElement(rect, "title").text = f"{clean(point.label, 60)}: {point.said}"
    view = f"{_CROPPED} {_CROPPED} {WIDTH - _CROPPED} {height - 2 * _CROPPED}"
    root = ET.Element("svg", {"class": "chart", "viewBox": view, "role": "img"})
    ET.SubElement(root, "title").text = title
    ET.SubElement(root, "desc").text = "; ".join(f"{clean(one.label, 60)}: {one.said}" for one in points[:30])
    root.append(group)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - made here, every text of it escaped


def _undress(element: ET.Element) -> None:
    """What it looks like is the style sheet's: light and dark differ."""
    if element.get("fill") == "bar":
        element.set("class", "bar")
    if element.get("stroke") == leather.theme.zero_color:
        element.set("class", "zero")
    for name in _LOOKS:
        element.attrib.pop(name, None)
    for name, value in element.attrib.items():
        element.set(name, _LONG.sub(lambda found: f"{float(found[0]):.1f}", value))
