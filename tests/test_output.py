"""Printing ends no work: letters that cannot be shown, streams that are closed, full, or that nobody reads."""

import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

from conftest import EXECUTION, ROOT
from modelcollapse import output
from modelcollapse.commands import subcommands
from modelcollapse.console import console

CHAIN = (
    "experiment=paper_gaussian",
    "generations=1",
    "data.rows=20",
    "model.replicates=2",
    *EXECUTION,
)


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("perplexity 3 · entropy 2 …", "ascii", "perplexity 3 - entropy 2 ..."),
        ("naïve/€.txt", "ascii", r"na\xefve/\u20ac.txt"),
        ("naïve €", "latin-1", r"naïve \u20ac"),
        ("no letters: \udcff", "utf-8", r"no letters: \udcff"),
        ("Grüße 🙂", "utf-8", "Grüße 🙂"),
    ],
)
def test_letters_that_a_stream_does_not_have_are_replaced(text, encoding, shown):
    assert text.encode(encoding, output.LEGIBLE).decode(encoding) == shown


def test_tables_and_bars_are_drawn_in_ascii(monkeypatch):
    from rich.progress import Progress
    from rich.table import Table

    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii", errors=output.LEGIBLE)
    monkeypatch.setattr(sys, "stdout", stream)
    table = Table(title="mean · spread")
    table.add_column("perplexity σ")
    out = console()
    out.print(table)
    with Progress(console=out) as progress:
        progress.update(progress.add_task("fit · epoch", total=2), advance=1)
    stream.flush()
    assert b"mean - spread" in written.getvalue()
    assert rb"\u03c3" in written.getvalue()


DRIVER = """
import io, json, os, sys
from modelcollapse.commands import run

ended = {}
kept = os.dup(1)
for how, words in json.loads(sys.argv[1]).items():
    if how == "closed":
        os.close(1)
        os.close(0)
        sys.stdout = None
    else:
        reader, writer = os.pipe()
        if how == "nobody":
            os.close(reader)
        os.dup2(os.open("/dev/full", os.O_WRONLY) if how.startswith("full") else writer, 1)
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="ascii")
    sys.argv = ["train.py", *words]
    try:
        run.train()
        ended[how] = 0
    except SystemExit as leaving:
        ended[how] = leaving.code
    sys.stdout = io.StringIO()
    os.dup2(kept, 1)
os.write(kept, json.dumps(ended).encode())
"""
"""Runs chains one after the other, each with another standard output."""


def test_a_chain_goes_on_whatever_becomes_of_its_output(train, tmp_path):
    """Only the first of the runs in the other process computes; all write records, and print."""
    expected = train(*CHAIN)
    assert expected.code == 0, expected.err
    place = f"paths.store={tmp_path / 'other'}"
    runs = {how: [*CHAIN, place, f"hydra.run.dir={tmp_path / how}"] for how in ("closed", "nobody", "full")}
    runs["full plan"] = [*CHAIN, place, "plan=true"]
    typed = [sys.executable, "-c", DRIVER, json.dumps(runs)]
    finished = subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) == {"closed": 0, "nobody": 0, "full": 0, "full plan": 1}
    lost = "standard output: No space left on device; not all lines could be printed"
    assert finished.stderr.splitlines() == [f"warning: {lost}; the work was not affected", f"error: {lost}"]
    for how in ("closed", "nobody", "full"):
        assert (tmp_path / how / "generations.jsonl").read_bytes() == expected.bytes(), how


def ended(command, redirection):
    """Exit code and standard error of a light command in a shell."""
    typed = f"{sys.executable} -m modelcollapse {command} {redirection}"
    finished = subprocess.run(["bash", "-c", f"set -o pipefail; {typed}"], cwd=ROOT, capture_output=True, text=True)
    return finished.returncode, finished.stderr


@pytest.mark.parametrize(
    ("command", "redirection", "code", "said"),
    [
        ("--help", ">&-", 0, ""),
        (
            "--help",
            "> /dev/full",
            1,
            "error: standard output: No space left on device; not all lines could be printed\n",
        ),
        ("extensions", "> /dev/full", 1, "No space left on device"),
        ("--help", "| true", 0, ""),
        ("nonsense", "2>&-", 2, ""),
        ("nonsense", "2> /dev/full", 2, ""),
    ],
)
def test_commands_that_only_print_say_that_they_could_not(command, redirection, code, said):
    found, printed = ended(command, redirection)
    assert (found, said in printed, bool(printed)) == (code, True, bool(said))


def test_files_never_take_the_number_of_a_closed_stream(tmp_path):
    """What libraries print would otherwise land in them."""
    script = (
        "import os, sys\nfrom modelcollapse.output import surviving_output\n"
        "with surviving_output(), open(sys.argv[1], 'w', encoding='utf-8') as file:\n"
        "    os.write(1, b'printed by a library')\n    file.write(str(file.fileno() > 2))\n"
    )
    target = tmp_path / "file"
    subprocess.run(f'{sys.executable} -c "$0" {target} >&- <&-'.replace("$0", script), shell=True, check=True)
    assert target.read_text("utf-8") == "True"


def test_streams_that_others_replaced_are_left_alone(capsys):
    before = sys.stdout, sys.stderr
    with output.surviving_output():
        assert (sys.stdout, sys.stderr) == before
    assert subcommands.run(["--version"]) == 0
    assert "modelcollapse" in capsys.readouterr().out


def typed_on_a_terminal(words, cwd, **environment):
    """What a command writes to a terminal of 100 columns, and its exit code."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    process = subprocess.Popen(
        [sys.executable, *words], cwd=cwd, env={**kept, "TERM": "xterm", **environment}, stdout=end, stderr=end
    )
    os.close(end)
    written = b""
    # Linux ends what is read from a terminal that nobody holds any more by an error.
    with suppress(OSError):
        while part := os.read(terminal, 65536):
            written += part
    os.close(terminal)
    return written, process.wait()


ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}


@pytest.mark.parametrize("script", ["train.py", pytest.param("sweep.py", marks=pytest.mark.slow)])
def test_the_live_view_and_progress_are_drawn_on_a_terminal_that_knows_ascii_alone(tmp_path, script):
    places = [f"paths.store={tmp_path / 'store'}", f"hydra.run.dir={tmp_path / 'run'}"]
    words = [*CHAIN, "trainer.progress=true", *places, f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    written, code = typed_on_a_terminal([str(ROOT / script), *words, "model.replicates=3"], tmp_path, **ASCII)
    shown = written.decode("ascii")
    assert code == 0, shown
    assert "Traceback" not in shown
    assert "\x1b[" in shown
    # A bar, or the table of the chains.
    assert "generation" in shown
    assert "\\u2" not in shown
