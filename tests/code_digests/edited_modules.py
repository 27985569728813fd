"""What an edit of each module makes anew: ``python tests/code_digests/edited_modules.py`` writes the table.

A statement without effect is added to one module after the other, in a copy, and the digests are taken again.
"""

import json
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from modelcollapse.code_digests import house, modules
from modelcollapse.commands.code_lock import locked_code

TABLE = Path(__file__).with_name("edited_modules.json")
STATEMENT = "\n_unused = 0\n"


def made_anew(folder, every=1):
    """Module -> names of the stages and members whose digest an edit of it changes, those of one kind together.

    Of each ``every``-th module.
    """
    copy = Path(folder) / "modelcollapse"
    shutil.copytree(house.FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    house.FOLDER = copy
    # The files are the same ones all the time, but for what is in them.
    house.module_files = modules.module_files = cache(modules.module_files)
    before = digests()
    return {name: grouped(changed(copy, file, before), before) for name, file in files()[::every]}


def files():
    found = modules.module_files(house.PACKAGE, house.FOLDER)
    return sorted((name, Path(file.path)) for name, file in found.items())


def digests():
    """Name -> digest; what is implemented in the same code is digested once."""
    known = cache(house.digest_of_files)
    return {name: known(code, without) for name, (_, code, without) in locked_code().items()}


def changed(copy, file, before):
    text = file.read_bytes()
    file.write_bytes(text + STATEMENT.encode())
    try:
        after = digests()
    finally:
        file.write_bytes(text)
        # Another time: what was read of a file is known by its time and size.
        os.utime(file)
    return {name for name in before if after[name] != before[name]}


def grouped(names, every):
    """The names, ``stages/vae.*`` or ``metrics/*`` where all of a family or a kind are among them."""
    groups = {}
    for name in every:
        groups.setdefault(group(name), set()).add(name)
    whole = {label for label, members in groups.items() if members <= names}
    return sorted({*whole, *(name for name in names if group(name) not in whole)})


def group(name):
    kind, _, rest = name.partition("/")
    return f"{kind}/{rest.partition('.')[0]}.*" if kind == "stages" else f"{kind}/*"


def main():
    with tempfile.TemporaryDirectory() as folder:
        TABLE.write_text(json.dumps(made_anew(folder), indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
