"""A run that was finished, or that goes on: its record as tables and figures, its models and synthetic sets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.config.settings import ChainSettings, read_chain_settings
from modelcollapse.console import shown_path
from modelcollapse.errors import UserError
from modelcollapse.interactive.isolation import unchanged_environment, unchanged_libraries
from modelcollapse.populations.members import member_role, members_in, of_member
from modelcollapse.record import GENERATION_KEYS, number, read_error, read_lines
from modelcollapse.record.run_folder import TIMINGS_FILE, RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from modelcollapse.families.base import Family
    from modelcollapse.store import Manifest, Store

LINES = ("training", "timings", "samples", "histograms", "provenance")
"""Files of JSON lines that are tables too."""
SHOWN_ROWS = 12
WIDTH_IN_PNG = slice(16, 20)


class Run:
    """What a run has recorded, read from its folder when it is asked for.

    Args:
        folder: the run folder.
        store: where its artifacts are; by default the store that its settings name.

    Raises:
        UserError: it is no run folder.
    """

    def __init__(self, folder: str | os.PathLike[str], store: str | os.PathLike[str] | None = None) -> None:
        self.folder = RunFolder.open(Path(folder).expanduser()).path
        self._root = None if store is None else Path(store)

    # ---- the record ------------------------------------------------------------------------------------------

    @property
    def _record(self) -> RunFolder:
        """Opened anew: the run may go on."""
        return RunFolder(self.folder)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Which chain it is, with versions: the content of ``chain.json``."""
        return self._record.identity

    @property
    def status(self) -> str:
        """``finished``, ``running``, ``interrupted`` or ``failed``."""
        return str(self.identity["status"])

    @property
    def config(self) -> Mapping[str, Any]:
        """The composed configuration as plain values: the content of ``config.yaml``."""
        return self._record.config

    @cached_property
    def settings(self) -> ChainSettings:
        """The settings, typed: ``run.settings.model.training.epochs``.

        Raises SettingsError where the configuration is not one of this version, or names members that are not
        registered here.
        """
        return read_chain_settings(self.config)

    @property
    def generations(self) -> pd.DataFrame:
        """One row a finished generation: its number, then every metric by name; NaN where it was not measured."""
        import pandas as pd

        rows = [
            {"generation": generation, **{name: number(line[name]) for name in line if name not in GENERATION_KEYS}}
            for generation, line in self._record.generations.items()
        ]
        metrics = sorted({name for row in rows for name in row} - {"generation"})
        return pd.DataFrame(rows, columns=["generation", *metrics])

    @property
    def tables(self) -> Tables:
        """Tables by name: those of the family, and ``training``, ``timings``, ``samples``, ``provenance``, ..."""
        return Tables(self.folder)

    @property
    def figures(self) -> Figures:
        """Figures by name; each shows itself in a notebook."""
        return Figures(self.folder / "figures")

    @property
    def computed(self) -> int:
        """How many artifacts were computed by this run; the others were in the store."""
        return sum(line["computed"] for line in self._record.lines(TIMINGS_FILE))

    # ---- the artifacts ---------------------------------------------------------------------------------------

    def model(self, generation: int, member: int = 0) -> Any:
        """The fitted model of a generation, of a population a member's, verified against its checksums.

        Of a language model a Hugging Face model, of other networks their ``torch.nn.Module``, of estimator families the
        parameters, name -> tensor [replicates, ...].

        Raises:
            UserError: there is no such generation or member, or its model is no longer in the store.
            Damaged: it is not what was published.
        """
        with _quietly():
            return self._family.load_model(generation, _Folders(self, generation, member))

    def synthetic(self, generation: int, member: int = 0) -> Any:
        """What a generation wrote, of a population what a member wrote, verified against its checksums.

        Of a language model its texts, of image models a tensor [images, 28, 28], of estimator families a tensor
        [replicates, rows, d].

        Raises:
            UserError: there is no such generation or member, or its synthetic set is no longer in the store.
            Damaged: it is not what was published.
        """
        with _quietly():
            return self._family.load_synthetic(generation, _Folders(self, generation, member))

    @property
    def replicates(self) -> pd.DataFrame:
        """Every measure of every replicate of an estimator family: one row a finished generation and replicate.

        Columns are ``generation``, ``replicate``, then the measures by name; ``generations`` has their statistics over
        the replicates.

        Raises:
            UserError: the family has no replicates, or its artifacts are no longer in the store.
            Damaged: they are not what was published.
        """
        import pandas as pd

        load = getattr(self._family, "load_replicates", None)
        if load is None:
            raise UserError(f"model.family={self.identity['family']} has no replicates: seeds are its replicates")
        finished, frames = set(self._record.generations), list[pd.DataFrame]()
        for generation in sorted(finished):
            if frames and generation <= frames[-1]["generation"].iloc[-1]:
                continue
            segment = load(_Folders(self, generation))
            frames.append(_replicates(segment.generations, segment.measures))
        table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["generation", "replicate"])
        return table[table["generation"].isin(finished)]

    def artifact(self, generation: int, role: str = "model") -> Path:
        """The folder of an artifact in the store, every file verified; it is not to be changed.

        Raises:
            UserError: the generation has no artifact of that role, or it is no longer in the store.
            Damaged: it is not what was published.
        """
        roles = self._roles(generation)
        if role not in roles:
            raise UserError(f"generation {generation} has no artifact {role!r}; there are: {', '.join(roles)}")
        return self._published(roles[role], f"the {role} of generation {generation}")

    def _published(self, key: str, what: str) -> Path:
        """The verified folder of the artifact of a key."""
        from modelcollapse.store.manifest import verify

        if key not in self._verified:
            found = self._find(key)
            if found is None:
                places = " or ".join(str(store.root) for store in self._stores)
                raise UserError(
                    f"{what} is not in {places}. store.keep=ends keeps the weights of the first and the last generation"
                    " only; another store: Run(folder, store=...)"
                )
            verify(found[0])
            self._verified[key] = found[0]
        return self._verified[key]

    def _find(self, key: str) -> tuple[Path, Manifest] | None:
        for store in self._stores:
            with suppress(LookupError):
                return store.find(key)
        return None

    def _roles(self, generation: int) -> Mapping[str, str]:
        """Role -> key of the artifacts of a generation."""
        there = self._record.provenance
        if generation not in there:
            raise UserError(f"generation {generation}: there is none; there are: {', '.join(map(str, there))}")
        return there[generation]

    def _roles_of_member(self, generation: int, member: int) -> Mapping[str, str]:
        """Role -> key of the artifacts of a member of a population."""
        roles = of_member(self._roles(generation), member)
        if member < 0 or not roles:
            raise UserError(
                f"member {member}: there is none; there are {members_in(self._roles(generation))}, from 0 on"
            )
        return roles

    def _parents(self, key: str) -> Mapping[str, str]:
        """Role -> key of what an artifact was made from; nothing where it is no longer in the store."""
        found = self._find(key)
        return {} if found is None else found[1].parents

    @cached_property
    def _verified(self) -> dict[str, Path]:
        return {}

    @cached_property
    def _stores(self) -> list[Store]:
        return self._record.stores(self._root)

    @cached_property
    def _family(self) -> Family:
        from modelcollapse.families import family_for
        from modelcollapse.training.trainer import Execution

        return family_for(self.settings, Execution(self.settings.trainer, None))

    # ---- showing ---------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<Run {self.title}: {self.state}, {shown_path(self.folder)}>"

    @property
    def title(self) -> str:
        """Model, regime and seed."""
        identity = self.identity
        return f"{identity['model']}, regime {identity['regime']}, seed {identity['seed']}"

    @property
    def state(self) -> str:
        """How far it came, and why no further."""
        count = len(self._record.generations)
        error = read_error(self.folder)
        return f"{self.status}, {count} generations" + (f": {error.line}" if error else "")

    def _repr_html_(self) -> str:
        table, headings = self.generations, dict(self._headline)
        shown = table[["generation", *(name for name in headings if name in table)]].rename(columns=headings)
        names = {"tables": ", ".join(self.tables), "figures": ", ".join(self.figures)}
        lines = "".join(f"<div>{what}: {escape(text)}</div>" for what, text in names.items() if text)
        body = shown.to_html(index=False, max_rows=SHOWN_ROWS, border=0, float_format="{:.4g}".format)
        return f"<div><b>{escape(self.title)}</b>: {escape(self.state)}</div>{body}{lines}"

    @property
    def _headline(self) -> list[tuple[str, str]]:
        from modelcollapse.families import presentation_of

        return list(presentation_of(self.identity["family"]).headline)


def _replicates(generations: Sequence[int], measures: Mapping[str, Any]) -> pd.DataFrame:
    """One row a generation and replicate of measures, each [T, R]."""
    import numpy as np
    import pandas as pd

    count = next(iter(measures.values())).shape[1]
    places = {"generation": np.repeat(generations, count), "replicate": np.tile(np.arange(count), len(generations))}
    return pd.DataFrame({**places, **{name: values.flatten().numpy() for name, values in measures.items()}})


@contextmanager
def _quietly() -> Iterator[None]:
    """Within the block transformers prints nothing."""
    from modelcollapse.training.processes import quiet_transformers

    with unchanged_environment(), unchanged_libraries():
        quiet_transformers()
        yield


class _Folders(Mapping[str, Path]):
    """The folders of a generation's artifacts, and of what these were made from, by role; verified when asked for."""

    def __init__(self, run: Run, generation: int, member: int = 0) -> None:
        self._run, self._generation, self._member = run, generation, member
        self._keys = run._roles_of_member(generation, member)

    def __getitem__(self, role: str) -> Path:
        """The folder of the role: of the generation's own, or else of the nearest of what they were made from."""
        keys = self._keys
        if role in keys:
            return self._run.artifact(self._generation, member_role(self._member, role))
        for key in self._ancestors(list(keys.values()), role):
            return self._run._published(key, f"the {role} that generation {self._generation} was made with")
        raise KeyError(role)

    def _ancestors(self, keys: list[str], role: str) -> Iterator[str]:
        seen: set[str] = set()
        while keys:
            parents = [self._run._parents(key) for key in keys]
            yield from (found[role] for found in parents if role in found)
            seen.update(keys)
            keys = [key for found in parents for key in found.values() if key not in seen]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class Tables(Mapping[str, "pd.DataFrame"]):
    """The tables of a run folder by name; each is read when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> pd.DataFrame:
        """The table of that name."""
        import pandas as pd

        if (path := self._folder / f"{name}.parquet").is_file():
            return pd.read_parquet(path)
        if name in LINES and (path := self._folder / f"{name}.jsonl").is_file():
            return pd.DataFrame(read_lines(path))
        raise KeyError(f"{name!r}: no such table; there are: {', '.join(self)}")

    def __iter__(self) -> Iterator[str]:
        yield from sorted(path.stem for path in self._folder.glob("*.parquet"))
        files = [self._folder / f"{name}.jsonl" for name in LINES]
        yield from (file.stem for file in files if file.is_file() and file.stat().st_size)

    def __len__(self) -> int:
        return len(list(self))

    def __repr__(self) -> str:
        return f"<tables: {', '.join(self)}>"


class Figures(Mapping[str, "Figure"]):
    """The figures of a folder by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> Figure:
        """The figure of that name."""
        if (path := self._folder / f"{name}.png").is_file():
            return Figure(path)
        raise KeyError(f"{name!r}: no such figure; there are: {', '.join(self) or 'none'}")

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.stem for path in self._folder.glob("*.png")))

    def __len__(self) -> int:
        return len(list(self))

    def __repr__(self) -> str:
        return f"<figures: {', '.join(self)}>"


class Figure:
    """A figure that was drawn; the same as PDF lies beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        picture = self.path.read_bytes()
        # Figures have twice the pixels that they are shown with.
        return picture, {"width": int.from_bytes(picture[WIDTH_IN_PNG]) // 2}

    def __repr__(self) -> str:
        return f"<Figure {shown_path(self.path)}>"
