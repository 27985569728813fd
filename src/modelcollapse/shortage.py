"""What a machine runs out of, told in one sentence: room on the disk, memory."""

import errno

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a disk, a quota or a file that can take no more."""
FULL_DISK_WORDS = tuple(f"(os error {number})" for number in FULL_DISK)
"""How libraries written in Rust say it, in errors that carry no number."""
OUT_OF_MEMORY_WORDS = "can't allocate memory"
"""How torch says it of a CPU's memory, in a RuntimeError; of a GPU's it raises an OutOfMemoryError."""
GOES_ON = "What was finished is kept; the same command goes on where it stopped"


def shortage(error: BaseException) -> str | None:
    """What the machine ran out of, if that is what the error says, and what to do."""
    if is_full_disk(error):
        place = getattr(error, "filename", None) or "the disk"
        return f"{place}: there is no room left on the disk. {GOES_ON}, once there is room"
    if is_out_of_memory(error):
        first_line = (str(error).splitlines() or [""])[0] or type(error).__name__
        return (
            f"there is not enough memory ({first_line}). {GOES_ON}; what takes less memory: smaller batches"
            " (model.training.batch_size, decoding.batch_size, trainer.scoring_batch_size) or a smaller model"
        )
    return None


def is_full_disk(error: BaseException) -> bool:
    """Whether the error says that a disk, a quota or a file can take no more."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL_DISK
    return any(words in str(error) for words in FULL_DISK_WORDS)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that there is no memory left, on the CPU or on a GPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and OUT_OF_MEMORY_WORDS in str(error))
    )
