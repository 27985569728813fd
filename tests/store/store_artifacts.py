"""Artifacts of text, the processes that make them, and what several tests of the store do with both."""

import multiprocessing
import os
import time

from modelcollapse.store import Artifact, Store

# Processes of their own, forked from a clean server that holds no lock: quicker than to import anew in each.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["pytest", "hypothesis", "modelcollapse.store"])


def note(log, line):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def noted(log):
    return log.read_text().split() if log.exists() else []


def wait_for(path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.005)


def kill(process):
    process.kill()
    process.join()


def started(function, *arguments):
    process = processes.Process(target=function, args=arguments)
    process.start()
    return process


def answer(function, *arguments):
    """What a fresh process returns."""
    with processes.Pool(1) as pool:
        return pool.apply(function, arguments)


def build_weights(context):
    read = [path.joinpath("weights").read_text() for path in context.parents.values()]
    name = context.artifact.recipe["name"]
    context.folder.joinpath("weights").write_text(f"{name}({','.join(read)})")
    context.folder.joinpath("nested").mkdir()
    context.folder.joinpath("nested", "settings.json").write_text('{"width": 3}')


def artifact(name, *parents, log=None, build=build_weights, kind="model"):
    def made(context):
        if log is not None:
            note(log, name)
        build(context)

    roles = {f"parent {index}": parent for index, parent in enumerate(parents)}
    return Artifact(kind=kind, recipe={"name": name}, parents=roles, build=made, label=f"fit of {name}")


def litter(root):
    """What a store at rest must not hold: temporary folders and progress."""
    return [*root.glob("*/.*"), *root.glob("progress/*")]


def build_nothing(context):
    pass


def obtain_plain(root, name):
    return Store(root).obtain(artifact(name)).joinpath("weights").read_text()


def remove(root, name):
    return Store(root).remove(artifact(name))
