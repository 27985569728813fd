"""Runs of a copy of the project, each forked from a process that has imported the libraries, but no module of it.

As a script it is that server: a request a line on standard input, the exit status of the run as its answer.
"""

import json
import os
import subprocess
import sys


class FreshRuns:
    """The server, from the side of a test."""

    def __init__(self):
        # What an earlier run of this process hands on to its own children is not meant for these.
        foreign = ("PYTHONPATH", "MODELCOLLAPSE_SOURCES")
        environment = {name: value for name, value in os.environ.items() if name not in foreign}
        self._server = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, folder, overrides):
        """Run ``train.py`` of a copy in a folder; its exit status, and what it said."""
        request = {"folder": str(folder), "overrides": overrides}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        status = int(self._server.stdout.readline())
        return status, (folder / "output.log").read_text()

    def close(self):
        self._server.stdin.close()
        self._server.wait()


def serve():
    import numba
    import pandas
    import pytorch_lightning
    import torch
    import transformers.models.opt.modeling_opt
    from matplotlib import figure

    assert all((numba, pandas, transformers, figure, pytorch_lightning))
    # Threads do not survive a fork.
    torch.set_num_threads(1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            train(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def train(folder, overrides):
    """What a forked process does; it never returns."""
    os.chdir(folder)
    output = os.open("output.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ["MODELCOLLAPSE_STORE"] = "store"
    sys.path.insert(0, os.path.join(folder, "src"))  # noqa: PTH118 - as it is on a command line
    sys.argv = ["train.py", *overrides]
    status = 0
    try:
        from modelcollapse.commands.run import train as command

        command()
    except SystemExit as exit:
        status = int(exit.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
