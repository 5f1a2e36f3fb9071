"""How results are shown: text, and HTML for notebooks.

- `results`: `Displayed`, the base of all results, and `Summary`, a headline with facts
- `html`: collapsible sections, tables and code, with all text escaped
- `pictures`: small images (PNG) and curves (SVG) inside HTML

The HTML has neither scripts nor links. Its colours are those of the notebook's theme.
"""

from pyrovae.display import html
from pyrovae.display.html import Html
from pyrovae.display.pictures import curves, thumbnail, thumbnails
from pyrovae.display.results import Displayed, Summary

__all__ = ["Displayed", "Html", "Summary", "curves", "html", "thumbnail", "thumbnails"]
