"""Fixtures that write sweeps."""

import pytest
from report_runs import config_of, write_grid, write_run


@pytest.fixture
def grid():
    """Write a sweep folder."""
    return write_grid


@pytest.fixture
def one_run():
    """Write a run folder."""
    return write_run


@pytest.fixture
def grid_config():
    """The configuration of such a run."""
    return config_of
