"""Writes the page of names from elsewhere: ``python -m modelcollapse.commands.coming_from > docs/coming_from.md``."""

from modelcollapse.config.other_names import SECTIONS, OtherName

INTRODUCTION = """# Coming from Lightning, transformers, Hydra templates, W&B

This page is made from the code: `python -m modelcollapse.commands.coming_from > docs/coming_from.md`.

What you type elsewhere, and what becomes of it here. A name that is taken means what it means there. One that is not is
refused before any work starts, with the advice below.
"""
NOTES = {
    "Lightning": "Arguments of `Trainer`, as `trainer.NAME=VALUE`; more in [Lightning](lightning.md).",
    "transformers": "Arguments of transformers' `Trainer`, wherever they are typed.",
    "Hydra": "More in [Hydra](hydra.md). `-m`, `--config-dir`, `--cfg`, `--info` and tab completion are Hydra's own.",
    "lightning-hydra-template": "Groups and settings of its configurations.",
    "Weights & Biases": "Environment variables; more in [loggers](tracking.md).",
}


def main() -> None:
    """Print the page."""
    print(page(), end="")


def page() -> str:
    """The whole page, in Markdown."""
    sections = [
        "\n".join([f"## {origin}\n", NOTES[origin], "", *_table(names), ""])
        for origin, names in SECTIONS.items()
        if names
    ]
    return "\n".join([INTRODUCTION, *sections])


def _table(names: tuple[OtherName, ...]) -> list[str]:
    rows = [f"| `{each.name}` | {_fate(each)} | {each.say} |" for each in names]
    return ["| there | | here |", "|---|---|---|", *rows]


def _fate(name: OtherName) -> str:
    return "taken" if name.is_taken else "ignored, with a message" if name.is_ignored else "refused"


if __name__ == "__main__":
    main()
