"""Reads finished artifacts of a language-model chain: metrics, tables, continuations, figures."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pandas as pd

from modelcollapse.edits.applying import editing_metrics
from modelcollapse.families.base import ChainReport, ChainTitle, GenerationResult
from modelcollapse.families.language_model import figures
from modelcollapse.families.language_model.recipes import CONTINUATIONS_FILE, TRAINING_FILE, read_losses
from modelcollapse.figures import curves
from modelcollapse.figures.style import FigureText
from modelcollapse.selections.choosing import selection_metrics

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


MARKDOWN = re.compile(r"[\\`*_\[\]#|~]")
"""What means something in Markdown within a line."""


def generation_result(folders: Mapping[str, Path], metrics: Mapping[str, float]) -> GenerationResult:
    """Metrics, losses per sequence and continuations of one generation, whose folders are given by role."""
    measures, scores = read_losses(folders["measures"]), read_losses(folders["scores"])
    written = {
        f"synthetic/{name}_loss": measures[f"{name}.sequences"]
        for name in ("reference", "true")
        if f"{name}.sequences" in measures
    }
    real = {f"real/{split}_loss": scores[f"{split}.sequences"] for split in ("validation", "test")}
    return GenerationResult(
        metrics={**metrics, **selection_metrics(folders), **editing_metrics(folders["synthetic"])},
        distributions=written | real,
        samples=json.loads((folders["continuations"] / CONTINUATIONS_FILE).read_text(encoding="utf-8")),
        epochs=_lines(folders["scores"] / TRAINING_FILE),
    )


def _lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def chain_report(results: Sequence[tuple[int, GenerationResult]], title: ChainTitle) -> ChainReport:
    """Per-sequence perplexities as a table, the continuations as a page of text, and the figures of the paper."""
    perplexities = sequence_perplexities(results)
    generations = pd.DataFrame(
        [{"generation": number, "seed": title.seeds, **result.metrics} for number, result in results]
    )
    continuations = pd.DataFrame(
        [{"generation": number, **row} for number, result in results for row in result.samples]
    )
    sequences = int((perplexities["generation"] == 0).sum())
    text = FigureText(
        model=title.model, regime=title.regime, seeds=title.seeds, n=f"{sequences} sequences a generation"
    )
    drawn = curves.drawn(
        {
            "perplexity_by_generation": partial(figures.perplexity_by_generation, generations, text),
            "reference_perplexity_histograms": partial(figures.reference_perplexity_histograms, perplexities, text),
            "reference_perplexity_histograms_3d": partial(
                figures.reference_perplexity_histograms_3d, perplexities, text
            ),
            "diversity_by_generation": partial(figures.diversity_by_generation, generations, text),
        }
    )
    if not continuations.empty:
        first_prompt = continuations["prompt"].iloc[0]
        shown = continuations[continuations["prompt"] == first_prompt]
        drawn["continuations"] = figures.continuations_page(shown, text)
    documents = {"continuations.md": _continuations_document(results, title)}
    return ChainReport(tables={"perplexities": perplexities}, documents=documents, figures=drawn)


def sequence_perplexities(results: Sequence[tuple[int, GenerationResult]]) -> pd.DataFrame:
    """One row a sequence: generation, sequence, reference_perplexity, and true_perplexity where the truth is known.

    Generation -1 is the real validation split under the reference model.
    """
    real = results[0][1].distributions["real/validation_loss"]
    frames = [_perplexity_frame(figures.REAL, {"reference_perplexity": real})]
    for number, result in results:
        columns = {
            name.removeprefix("synthetic/").replace("_loss", "_perplexity"): losses
            for name, losses in result.distributions.items()
            if name.startswith("synthetic/")
        }
        frames.append(_perplexity_frame(number, columns))
    return pd.concat(frames, ignore_index=True)


def _perplexity_frame(generation: int, losses: Mapping[str, np.ndarray]) -> pd.DataFrame:
    columns: dict[str, Any] = {name: np.exp(values) for name, values in losses.items()}
    size = len(next(iter(columns.values())))
    return pd.DataFrame({"generation": np.full(size, generation), "sequence": np.arange(size), **columns})


def _continuations_document(results: Sequence[tuple[int, GenerationResult]], title: ChainTitle) -> str:
    lines = [f"# What each generation writes\n\n{title.model}, regime {title.regime}, seed {title.seeds}\n"]
    prompts = list(dict.fromkeys(row["prompt"] for _, result in results for row in result.samples))
    for prompt in prompts:
        lines.append(f"\n## Prompt\n\n> {_one_line(prompt)}\n")
        for number, result in results:
            lines += [
                f"\n**Generation {number}**: {_one_line(row['continuation'])}\n"
                for row in result.samples
                if row["prompt"] == prompt
            ]
    return "".join(lines)


def _one_line(text: str) -> str:
    """A model's text as one line of Markdown that shows it: no HTML, no links or emphasis, no control characters."""
    printable = "".join(letter if letter.isprintable() or letter.isspace() else "\ufffd" for letter in text)
    return escape(MARKDOWN.sub(r"\\\g<0>", " ".join(printable.split())), quote=False)


class Texts(Sequence[str]):
    """Blocks of tokens as texts; each is decoded when it is asked for.

    Args:
        tokens: the blocks, [sequences, tokens].
        tokenizer: what they are tokens of.
    """

    def __init__(self, tokens: "torch.Tensor", tokenizer: "PreTrainedTokenizerBase") -> None:
        self.tokens, self.tokenizer = tokens, tokenizer

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "Texts": ...

    def __getitem__(self, index: int | slice) -> "str | Texts":
        """The text of one sequence, or those of a slice."""
        if isinstance(index, slice):
            return Texts(self.tokens[index], self.tokenizer)
        return str(self.tokenizer.decode(self.tokens[index].tolist()))

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        shown = "".join(f"\n  {text!r}" for text in self[:5])
        more = f"\n  and {len(self) - 5} more" if len(self) > 5 else ""
        return f"{len(self)} texts of {self.tokens.shape[1]} tokens:{shown}{more}"
