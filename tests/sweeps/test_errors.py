"""Why a chain failed, told in one line from what real processes leave."""

import subprocess
import sys

import pytest

from modelcollapse.sweeps.runner import error_of

PROGRAMS = {
    "a user's error": (
        "import sys; print('begun'); print('error: 2 problems:\\n  a: 1\\n  b: 2', file=sys.stderr); sys.exit(2)",
        "2 problems: a: 1 b: 2",
    ),
    "an exception": ("1 / 0", "ZeroDivisionError: division by zero"),
    "an exception of many lines": ("raise ValueError('first\\n second')", "ValueError: first"),
    "an exception during another": ("try: 1 / 0\nexcept ZeroDivisionError: {}['x']", "KeyError: 'x'"),
    "a word": ("import sys; print('out of luck'); sys.exit(3)", "out of luck"),
    "silence": ("import sys; sys.exit(3)", "ended with exit code 3"),
    "a kill": (
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "killed by SIGKILL, probably for memory",
    ),
    "a fault": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
}


@pytest.mark.parametrize("end", PROGRAMS)
def test_the_error_is_one_line(tmp_path, end):
    program, expected = PROGRAMS[end]
    output = tmp_path / "output.log"
    with output.open("wb") as file:
        process = subprocess.run([sys.executable, "-u", "-c", program], stdout=file, stderr=file)
    assert error_of(process.returncode, output) == expected
