"""Errors that a user can mend. Each message is one line: the thing, what is wrong, what to do."""


class EpsamError(Exception):
    """A failure with a message for the user.

    The command line prints it without a traceback and exits with 1.
    """


class SlideError(EpsamError):
    """A slide that is missing, unreadable or unusable."""


class AnnotationError(EpsamError):
    """Annotations that cannot be read, or that have an unknown group."""


class DatasetError(EpsamError):
    """Patches, masks or tables that are missing or do not fit together."""


class ImageError(EpsamError):
    """An image file that cannot be read, or has the wrong size or number of channels."""


class WeightsError(EpsamError):
    """Weights that are missing, damaged, or of another network."""


class DeviceError(EpsamError):
    """A device that is missing or too small."""


class TrainingError(EpsamError):
    """A training that cannot continue, such as one whose loss is not a number."""


class PreflightError(EpsamError):
    """The check before a run found something that would stop it."""


class FinishedWorkError(EpsamError):
    """A run would replace what an earlier one has finished, and nobody has said that it may."""

    def __init__(self, work: str, advice: str) -> None:
        """work: what would be replaced, and why. advice: what to do instead."""
        super().__init__(f"{work}; {advice}")
        self.work = work


class BusyError(EpsamError):
    """A folder that another process is using."""


class ClaimLostError(EpsamError):
    """Work that another process has taken over from this one."""


class ProcessLostError(EpsamError):
    """Another of the processes that share a stage has ended."""
