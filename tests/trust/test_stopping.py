"""A wish to stop is never lost, wherever the program is when it comes."""

import signal
import subprocess
import sys

import pytest

SWALLOWING = """
import os, signal, sys, time, weakref
from modelcollapse.errors import Interrupted, interruptible

def come():
    os.kill(os.getpid(), signal.{name})
    time.sleep(0.01)

class WithDestructor:
    def __del__(self):
        come()

class Plain:
    pass

try:
    with interruptible():
        if {where!r} == "destructor":
            WithDestructor()
        elif {where!r} == "weak reference":
            plain = Plain()
            watch = weakref.ref(plain, lambda dead: come())
            del plain
        else:
            come()
        for _ in range(500):
            time.sleep(0.01)
        print("went on")
except Interrupted as interruption:
    print("stopped by", interruption)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("where", ["plain code", "destructor", "weak reference"])
def test_a_signal_where_python_swallows_exceptions_still_stops(name, where):
    program = SWALLOWING.format(name=signal.Signals[name].name, where=where)
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert answer.stdout == f"stopped by {name}\n", answer.stderr
    assert "Traceback" not in answer.stderr
