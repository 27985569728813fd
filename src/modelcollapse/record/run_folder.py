"""A run folder that is read again: which chain it is of, what it recorded, and where its artifacts are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from modelcollapse.errors import UserError
from modelcollapse.record import GENERATIONS_FILE, IDENTITY_FILE, read_lines
from modelcollapse.record.claiming import status_of
from modelcollapse.record.run_tables import run_folders
from modelcollapse.store import Store
from modelcollapse.store.runs import PROVENANCE_FILE

CONFIG_FILE, TIMINGS_FILE, METRICS_FILE = "config.yaml", "timings.jsonl", "metrics.json"
STORE_VARIABLE, DEFAULT_STORE = "MODELCOLLAPSE_STORE", "store"
MOST_NAMED = 3


@dataclass(frozen=True)
class RunFolder:
    """The record of one run. What is missing in it reads as empty; what is damaged raises UserError."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run of a folder. Raises UserError where it is none."""
        if (path / IDENTITY_FILE).is_file() and (path / GENERATIONS_FILE).is_file():
            return cls(path)
        if not path.is_dir():
            raise UserError(f"{path}: there is no such folder")
        inside = sorted(str(folder) for folder in run_folders(path))
        more = ", ..." if len(inside) > MOST_NAMED else ""
        advice = f"; runs below it: {', '.join(inside[:MOST_NAMED])}{more}" if inside else ""
        raise UserError(f"{path}: is no run folder, which holds {IDENTITY_FILE} and {GENERATIONS_FILE}{advice}")

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """``chain.json``."""
        return self._json(IDENTITY_FILE)

    @property
    def status(self) -> str:
        """How the run ended, or ``running``; see :func:`~modelcollapse.record.claiming.status_of`."""
        return status_of(self.path, self.identity)

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end."""
        return self.identity.get("status") == "finished"

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """``metrics.json``: version and digest of each metric."""
        return self._json(METRICS_FILE)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The configuration as it was composed."""
        import yaml

        path = self.path / CONFIG_FILE
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (yaml.YAMLError, ValueError) as error:
            raise UserError(f"{path}: is damaged: {error}") from error
        return values if isinstance(values, dict) else {}

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The lines of a file of JSON lines."""
        try:
            return read_lines(self.path / name)
        except FileNotFoundError:
            return []
        except ValueError as error:
            raise UserError(str(error)) from error

    @cached_property
    def generations(self) -> Mapping[int, Mapping[str, Any]]:
        """Generation -> its line of metrics."""
        return {int(line["generation"]): line for line in self.lines(GENERATIONS_FILE)}

    @cached_property
    def provenance(self) -> Mapping[int, Mapping[str, str]]:
        """Generation -> role -> key of the artifact."""
        lines = self.lines(PROVENANCE_FILE)
        return {int(line.pop("generation")): line for line in lines}

    def stores(self, given: Path | None = None) -> list[Store]:
        """The stores that its artifacts may be in: the one given, or else the run's own and the usual one."""
        named = dict(self.config.get("paths") or {}).get("store")
        usual = os.environ.get(STORE_VARIABLE, DEFAULT_STORE)
        places = [str(given)] if given is not None else [place for place in (named, usual) if place]
        return [Store(root) for root in dict.fromkeys(Path(place).expanduser().resolve() for place in places)]

    def _json(self, name: str) -> Mapping[str, Any]:
        path = self.path / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise UserError(f"{path}: is damaged: {error}") from error
        return content if isinstance(content, dict) else {}
