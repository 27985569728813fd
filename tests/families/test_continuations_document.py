"""``continuations.md`` shows what models generate as text, whatever it is."""

import html
import re

import pytest

from modelcollapse.families.base import ChainTitle, GenerationResult
from modelcollapse.families.language_model.report import _continuations_document

HOSTILE = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "an entity": "&lt;b&gt; &amp; &#60;",
    "a link": "[free](javascript:alert(1)) ![x](http://host/x.png)",
    "headings and emphasis": "# Generation 7\n**not** a _real_ ~~heading~~ `code`",
    "a table": "| a | b |",
    "an escaped backslash": "\\<b>",
    "lines": "one\r\ntwo\u2028three\x0bfour",
}
CONTROLS = "\x1b[31mred\x07\x00\x9b2J\u202egnp.exe\u200b"


def shown(text):
    """The lines of the document that show a text as a prompt and as a continuation."""
    result = GenerationResult(metrics={}, samples=({"prompt": text, "continuation": text},))
    document = _continuations_document([(0, result)], ChainTitle(model="m", regime="r", seeds="0"))
    return [line for line in document.splitlines() if line.startswith(("> ", "**Generation 0**: "))], document


@pytest.mark.parametrize("name", HOSTILE)
def test_a_text_is_one_line_that_reads_as_the_text(name):
    lines, document = shown(HOSTILE[name])
    assert len(lines) == 2
    assert "<" not in document
    for line in lines:
        written = re.sub(r"^(> |\*\*Generation 0\*\*: )", "", line)
        # What is not escaped has no meaning in Markdown.
        assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]#|~]", written.replace("&#", ""))
        plain = html.unescape(re.sub(r"\\([\\`*_\[\]#|~])", r"\1", written))
        assert plain == " ".join(HOSTILE[name].split())


def test_control_characters_are_replaced():
    lines, document = shown(CONTROLS)
    assert len(lines) == 2
    assert all(letter.isprintable() or letter == "\n" for letter in document)
    assert all("\ufffd" in line for line in lines)
