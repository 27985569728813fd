"""Peak memory and time of the stage that turns text into blocks: 2 GB of text, and 100 MB in a single line.

    python benchmarks/text_at_scale.py [--quick] [--gigabytes 2] [--all-gigabytes 2] [--line-megabytes 100]

Three texts of random words, for which a byte-pair tokenizer is trained as for ``model=opt_small``:

- bounded: ``data.train_blocks`` asks for 10,000 blocks; the rest is read, but not tokenised.
- whole: ``data.train_blocks=null``; all is tokenised and kept. The size may be another one, since that takes long.
- one line: a text without a line end, all of it.

Each is fingerprinted, cut into blocks, and fingerprinted again, as the stage of a chain does, in a process of its own.
The bar is 1 GB for the process with all that it imports; the files are written to the folder for temporary files, and
deleted.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from modelcollapse.data import data_of
from modelcollapse.data.blocks import block_count
from modelcollapse.data.settings import TextFilesDataSettings
from modelcollapse.data.tokenizers import load_tokenizer, train_byte_pairs

MOST_MEGABYTES = 1000
VOCABULARY, WORDS, LINE_WORDS = 8000, 50_000, 20
PART_MEGABYTES = 8
"""Written over and over: what is in memory does not depend on what the words are."""
BLOCK_LENGTH, BOUND = 64, 10_000


def main() -> None:
    """Write each text, cut it, and print what that took."""
    options = _options()
    if options.cut:
        _cut(Path(options.cut), options.blocks)
        return
    cases = (
        ("bounded", round(1000 * options.gigabytes), BOUND, "\n"),
        ("whole", round(1000 * options.all_gigabytes), None, "\n"),
        ("one line", options.line_megabytes, None, " "),
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        train_byte_pairs(_words(" ", 1).split(), VOCABULARY).save_pretrained(folder / "tokenizer")
        print(f"{'':10}{'MB':>7}{'blocks':>12}{'seconds':>10}{'CPU s':>9}{'peak MB':>9}{'at most':>9}", flush=True)
        for name, megabytes, most, end in cases:
            _report(name, megabytes, most, end, folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=2, help="of the bounded text")
    parser.add_argument("--all-gigabytes", type=float, default=2, help="of the text that is tokenised whole")
    parser.add_argument("--line-megabytes", type=int, default=100, help="of the single line")
    parser.add_argument("--quick", action="store_true", help="16 MB, 8 MB and 8 MB")
    parser.add_argument("--cut", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--blocks", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.gigabytes, options.all_gigabytes, options.line_megabytes = 0.016, 0.008, 8
    return options


def _report(name: str, megabytes: int, most: int | None, end: str, folder: Path) -> None:
    """A row of the table, of a text that is written for it and deleted."""
    (folder / "evaluation.txt").write_text(_words("\n", 1), encoding="utf-8")
    text = folder / "train.txt"
    try:
        part = _words(end, min(PART_MEGABYTES, megabytes))
        with text.open("w", encoding="utf-8") as file:
            for _ in range(0, megabytes, PART_MEGABYTES):
                file.write(part)
        found = _measured(folder, most)
    finally:
        text.unlink(missing_ok=True)
    verdict = "passed" if found["megabytes"] < MOST_MEGABYTES else "failed"
    print(
        f"{name:10}{megabytes:>7,}{found['blocks']:>12,}{found['wall']:>10.0f}{found['processor']:>9.0f}"
        f"{found['megabytes']:>9.0f}{MOST_MEGABYTES:>9}  {verdict}",
        flush=True,
    )


def _words(end: str, megabytes: int) -> str:
    """So many megabytes of random words with Zipf's frequencies; every LINE_WORDS of them end so."""
    draws = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = ["".join(draws.choices(letters, weights=range(26, 0, -1), k=draws.randint(1, 9))) for _ in range(WORDS)]
    weights = [1 / rank for rank in range(1, WORDS + 1)]
    chosen = draws.choices(words, weights=weights, k=megabytes * 250_000)
    lines = (" ".join(chosen[first : first + LINE_WORDS]) for first in range(0, len(chosen), LINE_WORDS))
    text = end.join(lines) + end
    return text[: 10**6 * megabytes - 1] + end


def _measured(folder: Path, most: int | None) -> dict[str, Any]:
    """What a process took that cut the text."""
    bound = [] if most is None else ["--blocks", str(most)]
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, __file__, "--cut", str(folder), *bound], stdout=subprocess.PIPE)
    assert process.stdout is not None
    blocks = json.loads(process.stdout.read())
    # The usage of this one process; RUSAGE_CHILDREN would be that of the largest so far.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the text was not cut, exit code {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "blocks": blocks,
        "wall": time.perf_counter() - begun,
        "processor": usage.ru_utime + usage.ru_stime,
        "megabytes": usage.ru_maxrss * unit / 1e6,
    }


def _cut(folder: Path, most: int | None) -> None:
    """Write the blocks of the folder's texts as the stage of a chain does, and print how many there are."""
    settings = TextFilesDataSettings(
        kind="text_files",
        name="random words",
        block_length=BLOCK_LENGTH,
        line_start_token=True,
        train_blocks=most,
        evaluation_blocks=100,
        reserve=0.0,
        train=str(folder / "train.txt"),
        validation=str(folder / "evaluation.txt"),
        test=str(folder / "evaluation.txt"),
    )
    data = data_of(settings)
    before = data.recipe()
    with tempfile.TemporaryDirectory(dir=folder) as target:
        data.write(load_tokenizer(folder / "tokenizer"), Path(target))
        assert data.recipe() == before
        print(block_count(Path(target), "train"))


if __name__ == "__main__":
    main()
