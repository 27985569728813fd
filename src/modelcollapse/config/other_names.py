"""Names that users of Lightning, transformers, lightning-hydra-template and W&B bring along, and what they are here.

A table, and look-ups in it for the messages of settings that there are not. :mod:`modelcollapse.commands.coming_from`
makes a page of it, ``docs/coming_from.md``, and ``tests/test_coming_from.py`` types every row of it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from modelcollapse.record import tracking
from modelcollapse.settings import Problem, shown


class OtherName(NamedTuple):
    """One name from elsewhere."""

    name: str
    """As it is typed there: ``trainer.max_epochs``; ``trainer.strategy=fsdp`` for one value of a setting that there is;
    without a dot for a name that people may type anywhere."""
    say: str
    """What it means here or, of a name that is refused, what to type instead; it ends the message."""
    typed: tuple[str, ...] = ()
    """Overrides that show it; empty for a name that is refused, which is typed as it is."""
    variables: Mapping[str, str] = {}
    """Environment variables that show it, for names that are no settings."""

    is_ignored: bool = False
    """Whether it is a variable that does nothing here, and stops nothing."""

    @property
    def is_taken(self) -> bool:
        """Whether it can be typed here as it is."""
        return bool(self.typed or self.variables)


LIGHTNING = (
    OtherName(
        "trainer.accelerator",
        "as in Lightning: `auto`, `cpu`, `gpu`, `mps`",
        ("trainer.accelerator=cpu",),
    ),
    OtherName("trainer.accelerator=cuda", "set trainer.accelerator=gpu"),
    OtherName("trainer.accelerator=tpu", "there are auto, cpu, gpu and mps only"),
    OtherName("trainer.devices", "how many devices fit together (DDP)", ("trainer.devices=2",)),
    OtherName("trainer.strategy", "`auto` or `ddp`: DDP where there are several devices", ("trainer.strategy=ddp",)),
    OtherName("trainer.strategy=ddp_spawn", "set trainer.strategy=ddp trainer.devices=2"),
    OtherName("trainer.strategy=ddp_find_unused_parameters_true", "set trainer.strategy=ddp, which finds them"),
    OtherName("trainer.strategy=fsdp", "weights are not divided among devices; trainer.micro_batch_size saves memory"),
    OtherName(
        "trainer.strategy=deepspeed", "weights are not divided among devices; trainer.micro_batch_size saves memory"
    ),
    OtherName("trainer.devices=auto", "give their number, trainer.devices=2"),
    OtherName("trainer.devices=-1", "give their number, trainer.devices=2"),
    OtherName("trainer.devices=[0,1]", "give their number, trainer.devices=2; CUDA_VISIBLE_DEVICES=0,1 says which"),
    OtherName(
        "trainer.num_nodes", "a chain is computed on one machine; sweep.py with hydra/launcher=submitit_slurm uses many"
    ),
    OtherName(
        "trainer.precision", "of fitting, scoring and generating; in every key", ("trainer.precision=bf16-mixed",)
    ),
    OtherName("trainer.precision=16", "set trainer.precision=16-mixed"),
    OtherName("trainer.precision=bf16", "set trainer.precision=bf16-mixed"),
    OtherName("trainer.precision=32", "set trainer.precision=32-true"),
    OtherName("trainer.precision=64-true", "there are 32-true, bf16-mixed and 16-mixed only"),
    OtherName("trainer.logger", "loggers are registered members: logger=[csv], tracking=wandb"),
    OtherName("trainer.callbacks", "callbacks are registered members: callbacks=[lr_monitor]"),
    OtherName("trainer.fast_dev_run", "set debug=fast"),
    OtherName("trainer.max_steps", "steps of a generation's fit; in its key", ("trainer.max_steps=100",)),
    OtherName("trainer.max_steps=-1", "set trainer.max_steps=null"),
    OtherName(
        "trainer.accumulate_grad_batches",
        "a step of the optimizer every so many batches; in the key of the fit",
        ("trainer.accumulate_grad_batches=4",),
    ),
    OtherName(
        "trainer.limit_train_batches",
        "of each generation's fit, in batches of model.training.batch_size rows; in its key",
        ("trainer.limit_train_batches=10", "trainer.limit_val_batches=0.5"),
    ),
    OtherName(
        "trainer.limit_val_batches",
        "in batches of model.training.batch_size rows; in the key of the fit",
        ("trainer.limit_val_batches=2",),
    ),
    OtherName("trainer.limit_val_batches=0", "every fit is validated; set trainer.limit_val_batches=1"),
    OtherName("trainer.limit_train_batches=0", "set trainer.limit_train_batches=1"),
    OtherName(
        "trainer.overfit_batches",
        "the same batches in every epoch, as many of the validation split; in the key of the fit",
        ("trainer.overfit_batches=2",),
    ),
    OtherName(
        "trainer.check_val_every_n_epoch",
        "as in Lightning; in the key of the fit",
        ("trainer.check_val_every_n_epoch=2",),
    ),
    OtherName(
        "trainer.gradient_clip_algorithm",
        "of model.training.gradient_clip; in the key of the fit",
        ("trainer.gradient_clip_algorithm=value",),
    ),
    OtherName("trainer.deterministic", "as in Lightning; in no key", ("trainer.deterministic=warn",)),
    OtherName("trainer.benchmark", "as in Lightning; in no key", ("trainer.benchmark=true",)),
    OtherName("trainer.detect_anomaly", "as in Lightning; in no key", ("trainer.detect_anomaly=true",)),
    OtherName(
        "trainer.profiler",
        "`simple` or `advanced`, of each generation's fit, written to the run folder; in no key",
        ("trainer.profiler=simple",),
    ),
    OtherName("trainer.profiler=pytorch", "there are simple and advanced only"),
    OtherName(
        "trainer.max_epochs", "set model.training.epochs, and model.training.generation0_epochs for generation 0"
    ),
    OtherName("trainer.min_epochs", "a fit takes all of model.training.epochs, unless a callback stops it"),
    OtherName("trainer.min_steps", "a fit takes all of model.training.epochs, unless a callback stops it"),
    OtherName(
        "trainer.max_time",
        "end the process instead (timeout 2h python train.py ...): the same command goes on at the last checkpoint",
    ),
    OtherName("trainer.limit_test_batches", "scores are of the whole test split: set its size, data.test_blocks=64"),
    OtherName("trainer.limit_predict_batches", "the regime says how many rows each model writes"),
    OtherName("trainer.val_check_interval", "validation comes at the end of an epoch"),
    OtherName(
        "trainer.num_sanity_val_steps", "plan=true checks the settings, and data are checked before the first fit"
    ),
    OtherName("trainer.log_every_n_steps", "what is logged is recorded once an epoch; a callback can see every step"),
    OtherName(
        "trainer.enable_checkpointing",
        "a fit goes on at its last checkpoint; set trainer.checkpoint_seconds, model.training.checkpoint, store.keep",
    ),
    OtherName("trainer.enable_progress_bar", "set trainer.progress"),
    OtherName("trainer.enable_model_summary", "write a callback that prints one: callbacks=[NAME]"),
    OtherName("trainer.gradient_clip_val", "set model.training.gradient_clip"),
    OtherName("trainer.inference_mode", "scoring and generating never keep gradients"),
    OtherName("trainer.use_distributed_sampler", "with trainer.devices every batch is divided among the devices"),
    OtherName("trainer.barebones", "set trainer.progress=false, tracking=none"),
    OtherName("trainer.plugins", "set trainer.precision, trainer.devices"),
    OtherName("trainer.sync_batchnorm", "no network here has batch normalisation"),
    OtherName("trainer.reload_dataloaders_every_n_epochs", "the order of the rows is new in every epoch"),
    OtherName("trainer.default_root_dir", "set hydra.run.dir for the run folder, paths.store for the store"),
    OtherName("trainer.enable_autolog_hparams", "all settings are in the record and in W&B"),
    OtherName("trainer.model_registry", "python -m modelcollapse export KEY FOLDER writes a Hugging Face folder"),
)
"""Arguments of Lightning's Trainer."""

_EPOCHS = "set model.training.epochs, and model.training.generation0_epochs for generation 0"
_PRECISION = "set trainer.precision=16-mixed or trainer.precision=bf16-mixed"
_RESUME = "the same command goes on where it stopped"
_KEPT = "set trainer.checkpoint_seconds for what a fit goes on from, store.keep for the weights of generations"
_EPOCH_ENDS = "each epoch ends with validation, and is recorded"
HUGGING_FACE = (
    OtherName("num_train_epochs", _EPOCHS),
    OtherName("per_device_train_batch_size", "set model.training.batch_size, which all devices share"),
    OtherName("per_device_eval_batch_size", "set trainer.scoring_batch_size"),
    OtherName("train_batch_size", "set model.training.batch_size, which all devices share"),
    OtherName("eval_batch_size", "set trainer.scoring_batch_size"),
    OtherName("learning_rate", "set model.training.learning_rate"),
    OtherName("weight_decay", "set model.training.weight_decay"),
    OtherName("adam_beta1", "register an optimizer: docs/extending.md"),
    OtherName("adam_beta2", "register an optimizer: docs/extending.md"),
    OtherName("adam_epsilon", "register an optimizer: docs/extending.md"),
    OtherName("optim", "set model.training.optimizer"),
    OtherName("max_grad_norm", "set model.training.gradient_clip"),
    OtherName("lr_scheduler_type", "set model.training.schedule"),
    OtherName("lr_scheduler_kwargs", "set 'model.training.schedule={name: NAME, SETTING: ...}'"),
    OtherName("warmup_steps", "set model.training.warmup_steps"),
    OtherName("warmup_ratio", "set model.training.warmup_steps, a number of steps"),
    OtherName("fp16", _PRECISION),
    OtherName("bf16", _PRECISION),
    OtherName("tf32", "matrix products are in single precision; set trainer.precision=bf16-mixed"),
    OtherName("no_cuda", "set trainer.accelerator=cpu"),
    OtherName("use_cpu", "set trainer.accelerator=cpu"),
    OtherName("output_dir", "set hydra.run.dir for the run folder, paths.store for the store"),
    OtherName("overwrite_output_dir", f"finished work is never overwritten, and {_RESUME}"),
    OtherName("resume_from_checkpoint", _RESUME),
    OtherName("save_strategy", _KEPT),
    OtherName("save_steps", _KEPT),
    OtherName("save_total_limit", _KEPT),
    OtherName("load_best_model_at_end", "set model.training.checkpoint=best_val"),
    OtherName("metric_for_best_model", "set model.training.checkpoint=best_val, of the real validation split"),
    OtherName("eval_strategy", _EPOCH_ENDS),
    OtherName("evaluation_strategy", _EPOCH_ENDS),
    OtherName("eval_steps", _EPOCH_ENDS),
    OtherName("logging_steps", _EPOCH_ENDS),
    OtherName("logging_strategy", _EPOCH_ENDS),
    OtherName("logging_dir", "set hydra.run.dir for the run folder"),
    OtherName("report_to", "set tracking=wandb or tracking=none, and logger=[NAME, ...] for others"),
    OtherName("run_name", "set name, the name of the experiment"),
    OtherName("trainer.seed", "set seed, without anything before it"),
    OtherName("data_seed", "set seed, without anything before it"),
    OtherName("full_determinism", "equal settings and threads give equal bits; set trainer.threads"),
    OtherName("disable_tqdm", "set trainer.progress=false"),
    OtherName("max_seq_length", "set data.block_length"),
    OtherName("block_size", "set data.block_length"),
    OtherName("model_name_or_path", "set model.pretrained, a hub id or a folder"),
    OtherName("dataset_name", "set data=hub data.path=ID_OR_FOLDER"),
    OtherName("gradient_checkpointing", "set trainer.micro_batch_size"),
    OtherName("gradient_accumulation_steps", "set trainer.accumulate_grad_batches"),
    OtherName("max_steps", "set trainer.max_steps"),
    OtherName("auto_find_batch_size", "set trainer.micro_batch_size"),
    OtherName("torch_compile", "set nothing: the networks bring fast layers of their own"),
    OtherName("deepspeed", "set trainer.devices for DDP on one machine"),
    OtherName("fsdp", "set trainer.devices for DDP on one machine"),
    OtherName("push_to_hub", "python -m modelcollapse export KEY FOLDER writes a Hugging Face folder"),
    OtherName("neftune_noise_alpha", "register a callback that does it: docs/extending.md"),
)
"""Arguments of transformers' Trainer; people type them in any group."""

_LOGGER = "a class of your own is one, of a dozen lines: docs/extending.md#a-logger"
TEMPLATE = (
    OtherName("experiment", "a file that names all that differs", ("experiment=quickstart",)),
    OtherName("seed=0", "the seed of the chain", ("seed=0",)),
    OtherName("hydra.run.dir", "the run folder", ("hydra.run.dir=results/first",)),
    OtherName("callbacks=default", "name those you want, callbacks=[lr_monitor]; checkpoints need none"),
    OtherName("callbacks=none", "set callbacks=[]"),
    OtherName(
        "callbacks.model_checkpoint.monitor",
        "name it in the list, callbacks=[lr_monitor] or 'callbacks=[{name: NAME, SETTING: ...}]'",
    ),
    *(OtherName(f"logger.wandb.{name}", f"set tracking.{name}") for name in ("project", "entity", "group", "job_type")),
    OtherName("logger.wandb.name", "set tracking.name"),
    OtherName("logger.wandb.tags", "set tracking.tags=[one,two]"),
    OtherName("logger.wandb.offline", "set tracking.mode=offline"),
    OtherName("logger.wandb.log_model", "set tracking.upload_weights=true"),
    OtherName("logger=csv", "tables of generations and epochs in the run folder", ("logger=csv",)),
    OtherName("logger=tensorboard", "event files in the run folder", ("logger=tensorboard",)),
    OtherName("logger=wandb", "the same as tracking=wandb, the default", ("logger=wandb",)),
    OtherName("logger=many_loggers", "name those you want, logger=[csv,tensorboard,wandb]"),
    *(OtherName(f"logger={name}", _LOGGER) for name in ("comet", "mlflow", "neptune", "aim")),
    OtherName("tracking=tensorboard", "set logger=tensorboard"),
    OtherName("tracking=csv", "set logger=csv"),
    OtherName("trainer=gpu", "set trainer.accelerator=gpu"),
    OtherName("trainer=cpu", "set trainer.accelerator=cpu"),
    OtherName("trainer=mps", "set trainer.accelerator=mps"),
    OtherName("trainer=ddp", "set trainer.devices=4"),
    OtherName("trainer=ddp_sim", "set trainer.accelerator=cpu trainer.devices=2"),
    OtherName("hparams_search=optuna", "a search that `train.py -m` runs", ("hparams_search=optuna",)),
    OtherName("debug", "`fast`, `overfit`, `profile`", ("debug=fast",)),
    OtherName("debug=default", "set debug=fast"),
    OtherName("debug=fdr", "set debug=fast"),
    OtherName("debug=limit", "set debug=fast, or trainer.limit_train_batches=0.1"),
    OtherName("debug=profiler", "set debug=profile"),
    OtherName("callbacks=early_stopping", "Lightning's EarlyStopping", ("callbacks=early_stopping",)),
    OtherName(
        "callbacks=model_checkpoint",
        "a fit goes on at its last checkpoint; set trainer.checkpoint_seconds, model.training.checkpoint",
    ),
    OtherName("callbacks=rich_progress_bar", "set trainer.progress"),
    OtherName("extras", "set plan=true or --cfg job to see the settings; tracking.tags for tags"),
    OtherName("task_name", "set name, the name of the experiment"),
    OtherName("tags", "set tracking.tags=[one,two]"),
    OtherName("train", "a chain is fitted, scored and recorded in one; finished work is found in the store"),
    OtherName("test", "a chain is fitted, scored and recorded in one; finished work is found in the store"),
    OtherName("ckpt_path", _RESUME),
    OtherName("optimized_metric", "set objective=test/perplexity"),
    OtherName("paths.output_dir", "set hydra.run.dir"),
    OtherName("paths.data_dir", "set data.path"),
    OtherName("paths.log_dir", "set hydra.run.dir"),
    OtherName("data.batch_size", "set model.training.batch_size"),
    OtherName("data.num_workers", "set nothing: rows lie in memory"),
    OtherName("model.optimizer", "set model.training.optimizer"),
    OtherName("model.scheduler", "set model.training.schedule"),
    OtherName("model.compile", "set nothing: the networks bring fast layers of their own"),
)
"""Groups and settings of lightning-hydra-template."""

_EXAMPLES = {"tags": "pilot,night", "folder": "wandb_files"}
WANDB = (
    *(
        OtherName(variable, f"where tracking.{name} is not given", variables={variable: _EXAMPLES.get(name, "mine")})
        for name, variable in tracking.VARIABLES.items()
    ),
    OtherName(tracking.MODE_VARIABLE, "where tracking.mode=auto", variables={tracking.MODE_VARIABLE: "offline"}),
    OtherName("WANDB_DISABLED", "`true` leaves W&B out", variables={tracking.DISABLED_VARIABLE: "false"}),
    OtherName("WANDB_API_KEY", "the login; it is written nowhere", variables={"WANDB_API_KEY": "0" * 40}),
    OtherName("WANDB_BASE_URL", "the server", variables={"WANDB_BASE_URL": "https://wandb.example.org"}),
    *(OtherName(variable, say) for variable, say in tracking.REFUSED.items()),
    *(OtherName(variable, say, is_ignored=True) for variable, say in tracking.UNUSED.items()),
)
"""Environment variables of Weights & Biases."""

HYDRA = (
    OtherName(
        "seed=0,1", "train.py -m seed=0,1 runs them as Hydra does, sweep.py seed=0,1 runs them and reports on them"
    ),
    OtherName("hydra/launcher=joblib", "for `train.py -m` and for sweep.py", ("hydra/launcher=joblib",)),
    OtherName("hydra/launcher=submitit_slurm", "for both", ("hydra/launcher=submitit_slurm",)),
    OtherName("hydra/sweeper=optuna", "for `train.py -m`; it gets the value of `objective`", ("hydra/sweeper=optuna",)),
    OtherName("hydra.sweep.dir", "the folder of a sweep", ("hydra.sweep.dir=results/grid",)),
    OtherName("hydra.output_subdir", "the folder `.hydra` in the run folder", ("hydra.output_subdir=null",)),
    OtherName("hydra.verbose", "as in Hydra", ("hydra.verbose=true",)),
    OtherName("hydra.job.chdir=true", "paths in settings are relative to where the command is typed"),
    OtherName("+hydra.job.env_set.NAME=1", "settings may give a job these variables only"),
    OtherName("+hydra.callbacks.mine._target_=my.Callback", "settings call no code"),
    OtherName("data.name=${oc.env:HOME}", "let the shell put HOME into the command"),
    OtherName("data.name=${oc.decode:text}", "settings are data, and there is no resolver oc.decode"),
)
"""Settings and habits of Hydra itself."""

SECTIONS: Mapping[str, tuple[OtherName, ...]] = {
    "Lightning": LIGHTNING,
    "transformers": HUGGING_FACE,
    "Hydra": HYDRA,
    "lightning-hydra-template": TEMPLATE,
    "Weights & Biases": WANDB,
}
"""Where people come from -> the names that they bring along."""

_TABLE = {each.name: each for names in SECTIONS.values() for each in names}


def advice(setting: str) -> str:
    """What to type instead of a setting, a group or a ``group=option`` that there is not; empty where none is known."""
    last = setting.rpartition(".")[2]
    found = next((_TABLE[name] for name in (setting, last, f"trainer.{last}") if name in _TABLE), None)
    if found is None or (found.name == setting and found.is_taken):
        return ""
    return f"set {found.name}" if found.is_taken else found.say


def with_advice(problem: str) -> str:
    """A problem that reading settings has found, with what to type instead where that is known."""
    if not isinstance(problem, Problem):
        return problem
    if problem.is_unknown:
        say = advice(problem.setting)
        return f"{problem.setting}: no such setting; {say}" if say else problem
    # Of a list, the setting: callbacks[0] is one of callbacks.
    found = _TABLE.get(f"{problem.setting.partition('[')[0]}={_as_typed(problem.value)}")
    return f"{problem}; {found.say}" if found else problem


def _as_typed(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_as_typed, value))}]"
    return value if isinstance(value, str) else shown(value)
