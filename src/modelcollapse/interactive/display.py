"""What is shown while chains run: in a notebook one output that changes, elsewhere lines and bars as of a command."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.chain_session import Reporter
from modelcollapse.config.settings import ChainSettings
from modelcollapse.errors import spoken
from modelcollapse.families.presentation import shown_metrics

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from modelcollapse.chain import Work
    from modelcollapse.families.base import Family
    from modelcollapse.store import Artifact, Store

REDRAW_SECONDS = 0.2


def in_notebook() -> bool:
    """Whether the process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


@contextmanager
def shown(settings: ChainSettings, folder: Path) -> Iterator[Reporter]:
    """Within the block a chain is shown, in a notebook or as by a command; not where ``trainer.progress`` is off."""
    if in_notebook() or not settings.trainer.progress:
        display = ChainDisplay(settings, folder, Output() if settings.trainer.progress else None)
        with display.messages():
            yield display
    else:
        from modelcollapse.console import ChainReporter, print_messages

        print_messages()
        yield ChainReporter(settings, folder, is_command=False)


class Output:
    """One output of a notebook's cell, drawn anew at most five times a second."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn = 0.0

    def show(self, html: str, text: str, *, at_once: bool = True) -> None:
        """Replace what is shown."""
        if not at_once and time.monotonic() - self._drawn < REDRAW_SECONDS:
            return
        from IPython.display import display

        self._drawn = time.monotonic()
        content = {"text/html": html, "text/plain": text}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


class ChainDisplay(Reporter):
    """Shows a chain in one output: what is computed now, and the headline metrics of finished generations.

    Args:
        settings: of the chain.
        folder: the run folder.
        output: where it is shown; None for nowhere.
    """

    def __init__(self, settings: ChainSettings, folder: Path, output: Output | None) -> None:
        self._settings, self._folder, self._output = settings, folder, output
        self._family: Family | None = None
        self._rows: list[Work] = []
        self._messages: list[str] = []
        self._stage: tuple[str, int, int, float] | None = None
        self._started = time.monotonic()

    @property
    def bars(self) -> Console | None:
        """None: the stage is part of the output."""
        return None

    @contextmanager
    def messages(self) -> Iterator[None]:
        """Within the block log messages of the package are shown too, and an error leaves where it happened."""
        logger, handler = logging.getLogger("modelcollapse"), _Messages(self.announce)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        try:
            yield
        except BaseException as error:
            self._draw(self._ended(error))
            raise
        finally:
            logger.removeHandler(handler)

    def announce(self, message: str) -> None:
        """A line below the rest."""
        self._messages.append(message)
        self._draw(self._state())

    def start(self, family: Family, store: Store, wanted: Sequence[Artifact]) -> None:
        """Show what runs."""
        self._family = family
        self._draw("begins")

    def progress(self, label: str, done: int, total: int, seconds_left: float) -> None:
        """Show how far a stage is."""
        is_new = self._stage is None or self._stage[0] != label
        self._stage = None if done >= total else (label, done, total, seconds_left)
        self._draw(self._state(), at_once=is_new and self._stage is not None)

    def generation(self, work: Work) -> None:
        """Show the headline metrics of a generation."""
        self._rows.append(work)
        self._draw(self._state(), at_once=False)

    def finish(self, works: Sequence[Work], figures: Sequence[Path], store: Store) -> None:
        """One line stays."""
        from modelcollapse.console import shown_path

        computed = sum(len(work.computed) for work in works)
        what = f"{computed} artifacts computed in {spoken(time.monotonic() - self._started)}"
        if not computed:
            what = "nothing was computed, all was in the store"
        self._rows, self._stage = [], None
        self._draw(f"finished, {len(works)} generations; {what}; record: {shown_path(self._folder)}")

    def _state(self) -> str:
        return f"generation {len(self._rows)} of {self._settings.generations}"

    def _ended(self, error: BaseException) -> str:
        """Where the chain was when it was stopped."""
        places = getattr(error, "__notes__", None) or ([self._stage[0]] if self._stage else [self._state()])
        return f"{'failed' if isinstance(error, Exception) else 'stopped'}: {places[-1]}"

    def _draw(self, state: str, *, at_once: bool = True) -> None:
        if self._output is not None:
            self._output.show(self._html(state), f"{self._title}: {state}", at_once=at_once)

    @property
    def _title(self) -> str:
        name = self._family.title if self._family else self._settings.model.name or self._settings.model.family
        return f"{name}, regime {self._settings.regime.name}, seed {self._settings.seed}"

    def _html(self, state: str) -> str:
        parts = [f"<div><b>{escape(self._title)}</b>: {escape(state)}</div>"]
        if self._stage is not None:
            label, done, total, left = self._stage
            pace = f", {spoken(left)} left" if done else ""
            bar = f'<progress value="{done}" max="{total}"></progress>'
            parts.append(f"<div>{bar} {escape(label)}, {done}/{total}{pace}</div>")
        parts += [self._table()] if self._rows else []
        parts += [f"<div>{escape(message)}</div>" for message in self._messages]
        return "".join(parts)

    def _table(self) -> str:
        """The headline metrics, of a long chain those of some generations."""
        from modelcollapse.figures.thinning import shown_generations

        assert self._family is not None
        shown = shown_generations(self._settings.generations)
        headline = shown_metrics(self._family.headline, self._settings.metrics.shown)
        columns = [(name, head) for name, head in headline if name in self._rows[0].result.metrics]
        heads = "".join(f"<th>{escape(head)}</th>" for head in ("generation", *(head for _, head in columns)))
        rows = [
            f"<tr><td>{work.generation.number}</td>"
            + "".join(f"<td>{work.result.metrics.get(name, float('nan')):.4g}</td>" for name, _ in columns)
            + "</tr>"
            for work in self._rows
            if work.generation.number in shown
        ]
        return f"<table><tr>{heads}</tr>{''.join(rows)}</table>"


class _Messages(logging.Handler):
    """Hands each message to a function."""

    def __init__(self, show: Any) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        """Show one message."""
        self._show(self.format(record))


def html_of(renderable: RenderableType, width: int = 120) -> tuple[str, str]:
    """What rich would print, as HTML and as text."""
    import io

    from rich.console import Console

    # In a notebook rich would show it at once as well.
    console = Console(record=True, file=io.StringIO(), width=width, highlight=False, force_jupyter=False)
    console.print(renderable)
    html = console.export_html(inline_styles=True, code_format="<pre style='line-height:1.2'>{code}</pre>", clear=False)
    return html, console.export_text()
