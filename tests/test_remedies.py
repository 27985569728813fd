"""Remedies by name, and the experiments that compare them."""

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from conftest import run_command
from modelcollapse.config.extensions import configuration_folder
from modelcollapse.report import write_sweep_report
from test_experiments import REDUCED

REMEDIES = sorted(path.stem for path in (configuration_folder() / "remedy").glob("*.yaml"))
SELECTING = ("random", "surplexity", "confidence", "true_likelihood", "tournament", "verifier", "detector")
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


def reported(folder, *overrides):
    """The table of the report on two chains: without a remedy, and with one."""
    for name in ("none", "random"):
        run = folder / "runs" / name
        places = (f"paths.store={folder / 'store'}", f"hydra.run.dir={run}")
        execution = ("tracking=none", "trainer.threads=1", "trainer.accelerator=cpu")
        finished = run_command((*overrides, f"remedy={name}", *places, *execution), folder, run)
        assert finished.code == 0, finished.err
        yield finished.out
    yield write_sweep_report([folder / "runs"], folder / "report").headline


def test_tables_show_what_is_asked_for_and_call_chains_by_their_remedy(tmp_path):
    """Of the run, and of the report."""
    shown = "metrics.shown=[mean_error/mean,kl_from_true/mean]"
    sizes = ("generations=1", "data.rows=20", "model.replicates=4", "model.synthesis=samples")
    first, _, table = reported(tmp_path, "experiment=paper_gaussian", shown, *sizes)
    assert "kl_from_true/mean 0." in first
    assert table["group"].tolist() == ["none", "random"]
    assert list(table.columns)[3:] == ["|mu - mu_hat|", "kl_from_true/mean"]


@pytest.mark.slow
def test_the_comparison_shows_the_truth_and_what_is_generated(tmp_path):
    *_, table = reported(tmp_path, "experiment=remedies", *REDUCED["remedies"])
    headings = {"test/perplexity": "perplexity (real test)"}
    assert list(table.columns)[3:] == [headings.get(name, name) for name in SHOWN]
    generated = table["synthetic/generated"].astype(float).tolist()
    assert generated[1] == 2 * generated[0]
