"""An error as one line for the user."""

from typing import Any

from epsam.core.errors import EpsamError
from epsam.core.files import DISK_FULL, NO_PERMISSION


def is_for_the_user(error: BaseException) -> bool:
    """True for what a user can mend: our own errors, files and disks, a GPU that is too small."""
    # By name: torch.cuda.OutOfMemoryError would take the import of PyTorch.
    return isinstance(error, EpsamError | OSError) or type(error).__name__ == "OutOfMemoryError"


def one_line(error: BaseException, options: Any) -> str:
    """The message for the user, on one line, when a stage with these options raises `error`."""
    if type(error).__name__ == "OutOfMemoryError":
        reason = str(error).split(".")[0]
        flags = [f"--{name}" for name in ("batch_size", "encoder_chunk") if hasattr(options, name)]
        return f"the GPU's memory is too small ({reason}); lower {' or '.join(flags)}"
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return (
            f"{error.filename or 'disk'}: no space left; free some and run the same command again"
        )
    if isinstance(error, OSError) and error.errno in NO_PERMISSION and error.filename:
        return (
            f"{error.filename}: no permission ({error.strerror}); change it, or put data and runs "
            "elsewhere by DATA_ROOT and CHECKPOINT_ROOT"
        )
    return " ".join(str(error).split())
