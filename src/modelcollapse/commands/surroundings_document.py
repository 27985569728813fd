"""Writes the page of all that libraries read: ``python -m modelcollapse.commands.surroundings_document``."""

from itertools import groupby

from modelcollapse.surroundings import ANSWERS, READINGS, Reading

INTRODUCTION = """# Surroundings

This page is made from the code: `python -m modelcollapse.commands.surroundings_document > docs/surroundings.md`.

A result follows from its recipe: settings, data, code. What libraries read beside it (variables of the environment,
files of the working folder and of the home folder, what a notebook has set before) is answered here, library by
library. A command is sealed from its start to its end; a call from Python while it works, and then environment, threads
and defaults are as they were. In a notebook that had imported a library before, the library has read its variables
already: Numba's settings and the arithmetic of torch and NumPy are put right for the time of the call, and what is left
changes rounding only.

"""
HEAD = "| from | what | answer | |\n|---|---|---|---|\n"
ANSWERED = "\n| answer | |\n|---|---|\n"


def main() -> None:
    """Print the page."""
    print(page(), end="")


def page() -> str:
    """The whole page, in Markdown."""
    answers = "".join(f"| {answer} | {meaning} |\n" for answer, meaning in ANSWERS.items())
    sections = [INTRODUCTION.rstrip("\n") + "\n" + ANSWERED + answers]
    for library, readings in groupby(READINGS, lambda reading: reading.library):
        sections.append(f"## {library}\n\n{HEAD}" + "".join(map(_row, readings)))
    return "\n".join(sections)


def _row(reading: Reading) -> str:
    names = ", ".join(f"`{name}`" for name in reading.names)
    return f"| {reading.place} | {names} | {reading.answer} | {reading.what} |\n"


if __name__ == "__main__":
    main()
