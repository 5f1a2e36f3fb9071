"""HTML that a notebook shows: whether it is complete, harmless and small."""

from html.parser import HTMLParser

VOID = {"img", "br", "path", "circle", "polyline"}
ALLOWED = {
    *VOID,
    *("style", "div", "p", "details", "summary", "table", "thead", "tbody", "tr", "th", "td", "pre"),
    *("mark", "span", "svg", "g", "text", "progress"),
}


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.words, self.tags = [], [], []

    def handle_starttag(self, tag, attributes):
        assert tag in ALLOWED, tag
        for name, value in attributes:
            assert not name.startswith("on"), name
            assert name not in {"href", "id"}, name
            assert name != "src" or value.startswith("data:image/png;base64,")
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)


def check_page(text, largest=60_000):
    """Every tag is closed; there are no scripts, no events, no links; and it is small."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    assert len(text) < largest
    return reader


def text_of(page):
    """The words that a reader sees."""
    return " ".join(" ".join(check_page(page).words).split())
