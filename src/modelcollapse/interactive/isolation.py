"""Keeps a process as it was: whatever a run changes in the notebook or script that it is called from is put back."""

import gc
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any, TypeVar, cast

from modelcollapse.code_digests.house import SNAPSHOT_VARIABLE
from modelcollapse.config import hydra_internals
from modelcollapse.errors import Interrupted, UserError, interruptible
from modelcollapse.output import surviving_output
from modelcollapse.registry import SCRIPT_VARIABLE, imports_script, restored_environment
from modelcollapse.settings import SettingsError
from modelcollapse.surroundings import sealed

VARIABLES = (
    SNAPSHOT_VARIABLE,
    SCRIPT_VARIABLE,
    "TORCH_CPP_LOG_LEVEL",
    "TRANSFORMERS_VERBOSITY",
    "HF_HUB_DISABLE_PROGRESS_BARS",
)
"""Environment variables that a run sets for its own process and its children."""
LOGGERS = ("modelcollapse", "pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric")
"""Loggers whose levels and handlers a run sets."""


Function = TypeVar("Function", bound=Callable[..., Any])


def short_tracebacks(function: Function) -> Function:
    """Decorator of a public function: errors whose message says what to change show none of its inside."""

    @wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except SettingsError as error:
            raise error.with_traceback(None) from None
        except UserError as error:
            raise error.with_traceback(None) from error.__cause__

    return cast(Function, called)


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Run the block as a command would, and then put back what it changed in this process.

    That is: environment, warning filters, levels and handlers of loggers, garbage collection, signal handlers, and what
    Hydra was initialized for; see also :func:`unchanged_libraries`.

    Raises:
        KeyboardInterrupt: where the block was interrupted; what it had finished is kept.
        UserError: called while a process that a run or sweep started imports the script that it was started from.
    """
    if imports_script():
        raise UserError(
            "this script is imported by a process that it started, and starts work itself when it is imported; put its"
            ' last part under: if __name__ == "__main__":'
        )
    with ExitStack() as kept:
        kept.enter_context(_keyboard_interrupt())
        for each in (
            surviving_output,
            unchanged_environment,
            _warnings,
            _loggers,
            _garbage_collection,
            hydra_internals.apart,
        ):
            kept.enter_context(each())
        if threading.current_thread() is threading.main_thread():
            kept.enter_context(interruptible())
        yield


@contextmanager
def _keyboard_interrupt() -> Iterator[None]:
    """Notebooks and interpreters know KeyboardInterrupt; Lightning makes an exit of it, so runs raise another one."""
    try:
        yield
    except Interrupted as interruption:
        raise KeyboardInterrupt(
            f"stopped by {interruption}; what was finished is kept, and the same call goes on where it stopped"
        ) from None


@contextmanager
def unchanged_environment() -> Iterator[None]:
    """Seal the block from the surroundings, and put back, after it, the environment variables that a run sets."""
    with restored_environment(*VARIABLES), sealed():
        yield


@contextmanager
def _warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        # Of tqdm, where a notebook lacks ipywidgets: progress is shown without them.
        warnings.filterwarnings("ignore", message="IProgress not found")
        yield


@contextmanager
def _loggers() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    try:
        yield
    finally:
        for logger, level, handlers in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers


@contextmanager
def unchanged_libraries() -> Iterator[None]:
    """Put back, after the block, what a chain sets of torch, NumPy and transformers; imports torch."""
    spoken = _transformers_messages()
    try:
        with _arithmetic():
            yield
    finally:
        if "transformers" in sys.modules:
            _set_transformers_messages(*spoken)


@contextmanager
def _arithmetic() -> Iterator[None]:
    """Put back, after the block, what a chain sets of torch and NumPy, see ``prepare_process``."""
    import numpy as np
    import torch
    from threadpoolctl import threadpool_limits

    device, warn_only = torch.get_default_device(), torch.is_deterministic_algorithms_warn_only_enabled()
    before = (
        partial(torch.set_num_threads, torch.get_num_threads()),
        partial(torch.set_default_dtype, torch.get_default_dtype()),
        partial(torch.set_default_device, None if device.type == "cpu" else device),
        partial(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision()),
        partial(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled(), warn_only=warn_only),
        partial(torch.set_grad_enabled, torch.is_grad_enabled()),
    )
    try:
        # Within the context of the BLAS, whose threads it puts back.
        with np.errstate(), threadpool_limits(user_api="blas"):
            yield
    finally:
        for put_back in before:
            put_back()


def _transformers_messages() -> tuple[int, bool]:
    """Verbosity of transformers, and whether it draws bars; as it begins where it is not imported."""
    if "transformers" not in sys.modules:
        return logging.WARNING, True
    from transformers.utils import logging as messages

    return messages.get_verbosity(), messages.is_progress_bar_enabled()


def _set_transformers_messages(verbosity: int, bars: bool) -> None:
    from transformers.utils import logging as messages

    messages.set_verbosity(verbosity)
    with warnings.catch_warnings():
        # Where the user turned off bars of the hub by a variable, that is heeded, and warned of.
        warnings.simplefilter("ignore")
        (messages.enable_progress_bar if bars else messages.disable_progress_bar)()


@contextmanager
def _garbage_collection() -> Iterator[None]:
    thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if not frozen:
            gc.unfreeze()
