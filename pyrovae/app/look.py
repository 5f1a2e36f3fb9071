"""The style of the page: white cards on a warm grey, dark text, blue for what is selected.

Each Panel component has its own shadow tree, which the styles of the page do not reach, so each
gets its own style sheet. Only system fonts are named, since the page fetches nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = [
    "ACCENT", "BUTTON", "CARD", "COLUMNS", "DARK", "FIELD", "HEADER", "HTML", "LINE", "MESSAGE", "PAGE",
    "SELECT", "SLIDER", "SMALL", "STACK", "TABLE", "button", "select",
]  # fmt: skip

ACCENT, DARK, MUTED, LINE = "#0072b2", "#262626", "#73736f", "#e4e4df"
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif'

PAGE = f"""
html, body {{ margin: 0; background: #f6f6f3; color: {DARK}; font-family: {FONT}; }}
"""
CARD = f"""
:host(.card) {{ background: #fff; border: 1px solid {LINE}; border-radius: 8px; box-sizing: border-box;
  padding: 12px 14px 14px; min-width: 0; position: relative; }}
"""
# One column on a phone, two from 900 px, and three from 1500 px, where the second is taken apart.
COLUMNS = """
:host(.columns) { display: grid !important; grid-template-columns: minmax(0, 1fr); gap: 12px;
  padding: 0 12px 24px; box-sizing: border-box; align-items: start; width: 100% !important;
  margin: 0 !important; }
@media (min-width: 900px) { :host(.columns) { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
@media (min-width: 1500px) { :host(.columns) { grid-template-columns: repeat(3, minmax(0, 1fr)); } }
"""
STACK = """
:host(.stack) { display: flex !important; flex-direction: column; gap: 12px; min-width: 0; width: 100%; }
@media (min-width: 1500px) { :host(.pair) { display: contents !important; } }
"""
MESSAGE = f"""
:host {{ font: 13px/1.45 {FONT}; color: #7a3b00; background: #fff4e5; border-radius: 6px; padding: 8px 10px;
  margin: 0 0 8px !important; box-sizing: border-box; }}
"""
SMALL = f"""
:host .bk-btn.bk-btn-default {{ height: 26px; box-sizing: border-box; line-height: 1; margin: 0;
  padding: 0 8px; font-size: 12px; color: {MUTED}; }}
:host .bk-btn svg, :host .bk-btn .bk-TablerIcon {{ display: none; }}
:host a.bk-btn {{ display: inline-flex; align-items: center; text-decoration: none; }}
"""
SELECT = f"""
:host {{ font: 13px/1.3 {FONT}; }}
select.bk-input {{ border: 1px solid #d4d4cf; border-radius: 6px; height: 30px; color: {DARK};
  padding: 0 24px 0 8px; background-color: #fff; }}
select.bk-input:focus {{ border-color: {ACCENT}; box-shadow: none; outline: 1px solid {ACCENT}; }}
"""
HTML = f"""
:host {{ font: 13px/1.45 {FONT}; color: {DARK}; }}
h2 {{ font-size: 14px; font-weight: 600; margin: 0; display: inline; }}
small {{ font-size: 12px; color: {MUTED}; }}
b {{ font-weight: 600; }}
p {{ margin: 9px 0 3px; }}
svg text {{ fill: {DARK}; }}
img {{ image-rendering: pixelated; display: block; border-radius: 2px; }}
.grid {{ display: flex; flex-wrap: wrap; gap: 4px; }}
.pair {{ display: flex; gap: 14px; }}
.pair > div {{ display: flex; flex-direction: column; gap: 3px; }}
.dot {{ display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 5px; }}
.row {{ display: flex; justify-content: space-between; font-variant-numeric: tabular-nums; }}
.rule {{ border-top: 1px solid {LINE}; margin: 8px 0; }}
.scale {{ display: inline-block; width: 60px; height: 8px; border-radius: 4px;
  background: linear-gradient(90deg, #440154, #3b528b, #21918c, #5ec962, #fde725); }}
.legend span {{ white-space: nowrap; margin-right: 8px; }}
.strip {{ display: flex; gap: 3px; }}
.strip > div {{ flex: 1 1 0; min-width: 0; }}
.strip img, .fit img {{ width: 100%; height: auto; }}
.rows {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(var(--least, 52px), 1fr));
  gap: 5px; }}
.rows button, .strip button {{ all: unset; display: block; cursor: pointer; box-sizing: border-box;
  width: 100%; border: 1px solid transparent; border-radius: 3px; }}
.rows button:hover {{ border-color: {ACCENT}; }}
.rows button:focus-visible {{ outline: 2px solid {ACCENT}; }}
.rows img {{ width: 100%; height: auto; }}
.values {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 12.5px; }}
.values th {{ font-weight: 400; color: {MUTED}; text-align: left; overflow-wrap: anywhere;
  padding: 2px 10px 2px 0; }}
.wide th {{ white-space: nowrap; max-width: 150px; overflow: hidden; text-overflow: ellipsis; }}
.values td {{ text-align: right; white-space: nowrap; padding: 2px 0 2px 10px; }}
.values tr + tr {{ border-top: 1px solid {LINE}; }}
.values button {{ all: unset; cursor: pointer; color: {ACCENT}; }}
.values button:focus-visible {{ outline: 2px solid {ACCENT}; }}
.even {{ table-layout: fixed; }}
.even td {{ overflow: hidden; text-overflow: ellipsis; }}
.wide {{ overflow-x: auto; }}
.tall {{ max-height: 560px; overflow-y: auto; }}
.beside {{ display: flex; gap: 16px; flex-wrap: wrap; }}
.beside > div {{ min-width: 0; max-width: 100%; }}
.beside > .facts {{ flex: 1 1 170px; }}
"""
HEADER = f"""
:host {{ font: 13px/1.4 {FONT}; color: {MUTED}; }}
h1 {{ font-size: 16px; font-weight: 600; color: {DARK}; margin: 0; display: inline; }}
span {{ margin-left: 14px; }}
"""
SLIDER = f"""
:host {{ font: 12px/1.3 {FONT}; color: {MUTED}; }}
.noUi-connect, .bk-noUi-connect {{ background: {ACCENT}; }}
.noUi-target {{ height: 4px; border: none; background: {LINE}; box-shadow: none; }}
.noUi-handle {{ width: 16px !important; height: 16px !important; top: -6px !important; right: -8px !important;
  border-radius: 50%; border: 1px solid #b9b9b4; background: #fff; box-shadow: 0 1px 2px #0002; }}
.noUi-handle:focus-visible {{ outline: 2px solid {ACCENT}; }}
.bk-slider-title, .bk-slider-value {{ color: {DARK}; }}
"""
FIELD = f"""
:host {{ font: 13px/1.3 {FONT}; }}
.bk-input {{ border: 1px solid #d4d4cf; border-radius: 6px; padding: 0 8px; height: 30px; color: {DARK}; }}
.bk-input:focus {{ border-color: {ACCENT}; box-shadow: none; outline: 1px solid {ACCENT}; }}
"""
BUTTON = f"""
:host {{ font: 13px/1.3 {FONT}; }}
:host .bk-btn.bk-btn-default {{ border: 1px solid #d4d4cf; border-radius: 6px; background: #fff !important;
  color: {DARK}; padding: 0 10px; height: 30px; font: inherit; cursor: pointer; box-shadow: none !important;
  border-color: #d4d4cf !important; }}
:host .bk-btn.bk-btn-default:hover {{ border-color: {ACCENT}; color: {ACCENT}; }}
:host .bk-btn.bk-btn-default:focus-visible {{ outline: 2px solid {ACCENT}; }}
:host .bk-btn-group > .bk-btn.bk-btn-default {{ height: 26px; padding: 0 10px; font-size: 12px; }}
:host .bk-btn-group > .bk-btn.bk-btn-default:first-child:not(:last-child) {{ border-radius: 6px 0 0 6px; }}
:host .bk-btn-group > .bk-btn.bk-btn-default:last-child:not(:first-child) {{ border-radius: 0 6px 6px 0;
  border-left: none !important; }}
:host .bk-btn-group > .bk-btn.bk-btn-default.bk-active {{ background: #e6f0f6 !important; color: {ACCENT}; }}
"""
TABLE = f"""
:host {{ font: 13px/1.3 {FONT}; }}
:host .tabulator {{ font-size: 13px; border: none; background: #fff; color: {DARK}; }}
:host .tabulator .tabulator-header {{ background: #fff; border: none; border-bottom: 1px solid {LINE}; }}
:host .tabulator .tabulator-header .tabulator-col {{ background: #fff; border: none; }}
:host .tabulator .tabulator-header .tabulator-col .tabulator-col-content {{ padding: 2px 6px 4px; }}
:host .tabulator .tabulator-header .tabulator-col .tabulator-col-title {{ font-weight: 500; font-size: 12px;
  color: {MUTED}; padding: 0 !important; }}
:host .tabulator .tabulator-header .tabulator-col .tabulator-col-sorter {{ display: none !important; }}
:host .tabulator .tabulator-header .tabulator-col[aria-sort="ascending"] .tabulator-col-title,
:host .tabulator .tabulator-header .tabulator-col[aria-sort="descending"] .tabulator-col-title {{
  color: {ACCENT}; }}
:host .tabulator .tabulator-row {{ border: none; min-height: 0; cursor: pointer; background: #fff; }}
:host .tabulator .tabulator-row .tabulator-cell {{ border: none; padding: 3px 6px; height: 26px;
  font-size: 13px; line-height: 20px; font-variant-numeric: tabular-nums; }}
:host .tabulator .tabulator-row.tabulator-selectable:hover {{ background: #f4f4f1; }}
:host .tabulator .tabulator-row.tabulator-selected,
:host .tabulator .tabulator-row.tabulator-selected:hover {{ background: #e6f0f6; color: {DARK}; }}
.tabulator img {{ image-rendering: pixelated; display: block; border-radius: 2px; }}
.dot {{ display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 6px; }}
"""


def button(
    text: str,
    action: Callable[[], None],
    *,
    small: bool = False,
    names: tuple[str, ...] = (),
    tip: str = "",
) -> Any:  # noqa: ANN401
    """A button that runs an action.

    Arguments:
        text: what is on it.
        action: what it does.
        small: whether it is less high.
        names: its CSS classes.
        tip: a description that a pointer shows.
    """
    import panel as pn

    sheets = [BUTTON, SMALL] if small else [BUTTON]
    made = pn.widgets.Button(
        name=text, margin=0, stylesheets=sheets, css_classes=list(names), description=tip or None
    )
    made.on_click(lambda event: action())
    return made


def select(
    options: Any,  # noqa: ANN401
    value: Any,  # noqa: ANN401
    action: Callable[[Any], None],
    names: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401
    """A list of options that runs an action with the one that is chosen."""
    import panel as pn

    made = pn.widgets.Select(
        options=options, value=value, margin=0, width=150, stylesheets=[SELECT], css_classes=list(names)
    )
    made.param.watch(lambda event: action(event.new), "value")
    return made
