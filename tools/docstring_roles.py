"""A Griffe extension (``mkdocs.yml``): cross-references in docstrings, as links of the API reference.

Docstrings use Sphinx's roles, such as :class:`~modelcollapse.regimes.Draw`, which editors understand. The reference
links those that lead to one of its own entries and shows the rest as code.
"""

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`(~?)([\w.]+)`")


class DocstringRoles(Extension):
    """Rewrites the roles of every docstring as optional links of mkdocs-autorefs."""

    def on_object(self, *, obj: Object, **arguments: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(lambda role: _link(role, obj), obj.docstring.value)


def _link(role: re.Match[str], obj: Object) -> str:
    is_short, name = role[1] == "~", role[2].lstrip(".")
    target = name if name.startswith("modelcollapse.") else f"{obj.module.path}.{name}"
    shown = name.rsplit(".", 1)[-1] if is_short else name
    return f'<autoref optional identifier="{target}"><code>{shown}</code></autoref>'
