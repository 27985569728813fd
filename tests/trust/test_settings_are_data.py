"""Settings are data, whatever they are wrapped in: each hostile one is refused, its harmless twin is accepted."""

import sys

import pytest

from conftest import run_command
from modelcollapse.config.guard import foreign_code
from modelcollapse.config.hydra_internals import sealed

CHAIN = ("experiment=paper_gaussian", "generations=2", "data.rows=20", "model.replicates=2", "tracking=none")
CREATED = "${{oc.create:{{_target_:shutil.copyfile,src:{source},dst:{marker}}}}}"
LOG = "+hydra.job_logging.handlers.x"

TWINS = {
    "a callback that is created": ("+hydra.callbacks={{x:'" + CREATED + "'}}", "+hydra.callbacks={{}}"),
    "a callback that is chosen by default": (
        "+hydra.callbacks={{x:'${{oc.select:no,{{_target_:shutil.copyfile,src:{source},dst:{marker}}}}}'}}",
        "+hydra.job.env_set={{OMP_NUM_THREADS:'1'}}",
    ),
    "a resolver whose name is put together": (
        "+hydra.callbacks={{b:create,x:'${{oc.${{.b}}:{{_target_:shutil.copyfile,src:{source},dst:{marker}}}}}'}}",
        "hydra.job.name=create",
    ),
    "a resolver that is named when the job begins": (
        "hydra.sweep.subdir='${{oc.${{hydra:job.name}}:HOME}}'",
        "hydra.sweep.subdir='${{hydra:job.num}}'",
    ),
    "decoded text": (
        "+hydra.callbacks={{x:'${{oc.decode:\"{{_target_:shutil.copyfile}}\"}}'}}",
        "hydra.job.name=decode",
    ),
    "a setting of the project": ("model='" + CREATED + "'", "model=gaussian"),
    "a value of the project": ("data.rows=${{oc.decode:'20'}}", "data.rows=20"),
    "a launcher": ("hydra.launcher={{x:'" + CREATED + "'}}", "hydra/launcher=basic"),
    "a sweeper": ("hydra.sweeper={{x:'" + CREATED + "'}}", "hydra/sweeper=basic"),
    "the help": ("hydra.help.header='" + CREATED + "'", "hydra.help.header=mine"),
    "the folder": ("hydra.sweep.subdir=${{oc.create:{{x:1}}}}", "hydra.sweep.subdir=${{hydra.job.num}}"),
    "the log's class": (
        LOG + "={{class:logging.config.fileConfig,fname:{marker}}}",
        LOG + "={{class:logging.StreamHandler,stream:'ext://sys.stdout'}}",
    ),
    "the log's stream, put together": (
        "+hydra.job_logging={{a:'ext:',handlers:{{x:{{class:logging.StreamHandler,stream:'${{..a}}//antigravity'}}}}}}",
        LOG + "={{class:logging.FileHandler,filename:'${{hydra:runtime.output_dir}}/x.log',delay:true}}",
    ),
    "a loader's variable": ("+hydra.job.env_set.LD_PRELOAD={source}", "+hydra.job.env_set.OMP_NUM_THREADS='1'"),
    "a variable that names a script": (
        "+hydra.job.env_set.MODELCOLLAPSE_SCRIPT={source}",
        "+hydra.job.env_set.WANDB_MODE=offline",
    ),
    "a copied variable": ("hydra.job.env_copy=[HOME]", "hydra.job.env_copy=[]"),
    "an environment variable": ("data.name=${{oc.env:HOME}}", "paths.store=${{oc.env:MODELCOLLAPSE_STORE,store}}"),
    "a function of a search": (
        "+hydra.sweeper.custom_search_space=os.system",
        "hydra.sweeper.max_batch_size=2",
    ),
}
"""What is hostile, and the same without the hostile part."""


@pytest.fixture
def hostile(tmp_path):
    """Run overrides that are to copy a file, with a plan; the answer, after a check that no file was copied."""
    source, marker = tmp_path / "source", tmp_path / "ran"
    source.write_text("x")

    def run(overrides, configuration="train"):
        typed = [override.format(source=source, marker=marker) for override in overrides]
        typed += [f"{place}={tmp_path / place}" for place in ("paths.store", "hydra.run.dir", "hydra.sweep.dir")]
        answer = run_command([*CHAIN, *typed, "plan=true"], tmp_path, tmp_path, configuration)
        assert not marker.exists()
        assert "antigravity" not in sys.modules
        assert not (tmp_path / "hydra.run.dir").exists()
        assert "Traceback" not in answer.err
        return answer

    return run


@pytest.mark.parametrize("twins", TWINS)
def test_hostile_settings_are_refused_and_their_twins_accepted(hostile, twins):
    bad, good = TWINS[twins]
    for flags, configuration in (([], "train"), (["-m"], "train"), ([], "sweep")):
        refused = hostile([bad, *flags], configuration)
        assert refused.code == 2, refused.out
    accepted = hostile([good])
    assert accepted.code == 0, accepted.err


def test_harmless_settings_of_hydra_are_accepted_by_sweeps_too(hostile):
    good = [good for _, good in TWINS.values() if good.startswith("hydra.")]
    for flags, configuration in ((["-m"], "train"), ([], "sweep")):
        accepted = hostile([*good, *flags], configuration)
        assert accepted.code == 0, accepted.err


FILES = {
    "a callback": (
        "callbacks:\n    x: ${{oc.create:{{_target_:shutil.copyfile,src:{source},dst:{marker}}}}}",
        "callbacks: {{}}",
    ),
    "a launcher's shell commands": ("launcher:\n    setup: ['touch {marker}']", "job:\n    name: mine"),
    "the log": ("job_logging:\n    handlers:\n      x:\n        (): shutil.copyfile", "job_logging:\n    version: 1"),
}


@pytest.mark.parametrize("configuration", ["train", "sweep"])
@pytest.mark.parametrize("name", FILES)
def test_files_of_settings_are_data_too(hostile, tmp_path, configuration, name):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    for twin, text in zip(("bad", "good"), FILES[name], strict=True):
        content = text.format(source=tmp_path / "source", marker=tmp_path / "ran")
        head = "# @package _global_\ndefaults:\n  - paper_gaussian\n  - _self_\n"
        (folder / f"{twin}.yaml").write_text(f"{head}hydra:\n  {content}\n")
    words = [f"--config-dir={tmp_path / 'mine'}"]
    assert hostile([*words, "experiment=bad"], configuration).code == 2
    accepted = hostile([*words, "experiment=good"], configuration)
    assert accepted.code == 0, accepted.err


def test_shell_commands_of_a_launcher_are_typed_not_read_from_a_file():
    values = {"hydra": {"launcher": {"setup": ["module load cuda"]}}}
    (problem,) = foreign_code(values)
    assert "must be typed" in problem
    assert not list(foreign_code(values, typed=["hydra.launcher.setup"]))


def test_samplers_of_optuna_may_be_chosen_and_nothing_else_there():
    def problems(target):
        return list(foreign_code({"hydra": {"sweeper": {"sampler": {"_target_": target}}}}))

    assert not problems("optuna.samplers.TPESampler")
    for target in ("optuna.samplers._base.os.system", "optuna.create_study", "my.samplers.TPESampler"):
        assert problems(target)


def test_resolvers_of_a_notebook_are_there_again_afterwards():
    from omegaconf import OmegaConf
    from omegaconf.errors import UnsupportedInterpolationType

    OmegaConf.register_new_resolver("eval", eval, replace=True)
    try:
        with sealed(), sealed():
            assert not OmegaConf.has_resolver("oc.create")
            with pytest.raises(UnsupportedInterpolationType):
                OmegaConf.create({"x": "${eval:'2 * 4'}"}).x  # noqa: B018
        assert OmegaConf.create({"x": "${eval:'2 * 4'}"}).x == 8
        assert OmegaConf.create({"x": "${oc.decode:'3'}"}).x == 3
        assert OmegaConf.create({"x": "${oc.env:PATH}"}).x
    finally:
        OmegaConf.clear_resolver("eval")
