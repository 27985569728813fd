"""Keys last: a new option, a changed default or code that gives equal numbers changes none of them."""

import json

from golden_keys import FILE, keys


def test_the_keys_of_every_shipped_experiment_are_those_that_were_written_down(tmp_path):
    """A version that is raised changes keys, and so do settings: then ``python tests/golden_keys.py`` and a look at
    what changed.
    """
    assert keys(tmp_path) == json.loads(FILE.read_text())
