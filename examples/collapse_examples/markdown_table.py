"""The logger ``markdown_table``: ``generations.md`` in the run folder, for a web page or an issue."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelcollapse.record import ChainIdentity
from modelcollapse.record.identity import View


class MarkdownTable(View):
    """A row a generation; columns are the metrics of generation 0. See View for what else a logger may be shown."""

    label = "markdown"

    def start(self, folder: Path, identity: ChainIdentity, config: Mapping[str, Any]) -> None:
        """Begin the file anew: a run that goes on shows all its generations again."""
        self._path, self._columns = folder / "generations.md", list[str]()
        self._path.write_text(f"# {identity.experiment}, {identity.regime}, seed {identity.seed}\n\n")

    def generation(self, generation: int, metrics: Mapping[str, float], **more: Any) -> None:
        """One row."""
        lines = []
        if not self._columns:
            self._columns = list(metrics)
            lines = [" | ".join(["generation", *self._columns]), " | ".join("---" for _ in ["", *self._columns])]
        lines.append(
            " | ".join([str(generation), *(f"{metrics.get(name, float('nan')):.4g}" for name in self._columns)])
        )
        with self._path.open("a") as file:
            file.writelines(f"| {line} |\n" for line in lines)
