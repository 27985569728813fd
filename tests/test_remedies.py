"""Remedies by name, and the experiments that compare them."""

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from modelcollapse.config.extensions import configuration_folder
from modelcollapse.report import write_sweep_report
from test_experiments import REDUCED

REMEDIES = sorted(path.stem for path in (configuration_folder() / "remedy").glob("*.yaml"))
SELECTING = ("random", "surplexity", "confidence", "true_likelihood", "tournament", "detector")
SHOWN = ("true/kl", "synthetic/rare_words_kept", "test/perplexity", "synthetic/generated")


def compared(experiment):
    """The remedies in the grid of an experiment."""
    text = (configuration_folder() / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8")
    params = yaml.safe_load(text)["hydra"]["sweeper"]["params"]
    return [str(one) for one in OverridesParser.create().parse_override(f"remedy={params['remedy']}").value().list]


def test_the_comparison_has_every_remedy():
    assert sorted(compared("remedies")) == REMEDIES


@pytest.mark.parametrize("name", REMEDIES)
def test_a_remedy_is_named_after_its_file_and_leaves_generation_0_to_all(chain, name):
    overrides = ("experiment=remedies", "trainer.accelerator=cpu")
    settings = chain(*overrides, f"remedy={name}", execute=False).settings
    assert settings.remedy == name
    first, plain = (
        chain(*overrides, *own, execute=False).generations()[0].artifacts for own in ((f"remedy={name}",), ())
    )
    is_of_the_fit = name.endswith("_loss")
    assert (first["model"].key == plain["model"].key) == (not is_of_the_fit)
    assert (name in SELECTING) == ("candidates" in first)


def test_candidates_are_generated_once_for_all_rules(chain):
    keys = {
        chain("experiment=remedies", f"remedy={name}", execute=False).generations()[0].artifacts["candidates"].key
        for name in SELECTING
    }
    assert len(keys) == 1


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of two small runs of the comparison: without a remedy, and with one."""
    from conftest import run_command

    folder = tmp_path_factory.mktemp("remedies")
    for name in ("none", "surplexity"):
        overrides = (
            "experiment=remedies",
            f"remedy={name}",
            "tracking=none",
            "trainer.threads=1",
            "trainer.accelerator=cpu",
            f"paths.store={folder / 'store'}",
            f"hydra.run.dir={folder / 'runs' / name}",
            *REDUCED["remedies"],
        )
        finished = run_command(overrides, folder, folder / "runs" / name)
        assert finished.code == 0, finished.err
    return folder / "runs"


def test_the_table_of_the_report_shows_what_the_experiment_asks_for(runs, tmp_path):
    table = write_sweep_report([runs], tmp_path / "report").headline
    assert table["group"].tolist() == ["none", "surplexity"]
    headings = {"test/perplexity": "perplexity (real test)"}
    assert list(table.columns) == ["group", "generation", "seeds", *(headings.get(name, name) for name in SHOWN)]
    generated = table["synthetic/generated"].astype(float).tolist()
    assert generated[1] == 2 * generated[0]
