"""The errors a user can cause: each message is one line that names the thing, what was found and
what to do.
"""


class EpsamError(Exception):
    """A failure with a message for the user; the command line prints it without a traceback and
    exits with 1.
    """


class SlideError(EpsamError):
    """A slide that is missing, unreadable or unusable."""


class AnnotationError(EpsamError):
    """Outlines that cannot be read or that hold something unknown."""


class DatasetError(EpsamError):
    """Patches, masks or tables that are missing or do not fit together."""


class ImageError(EpsamError):
    """An image file that cannot be read or has the wrong form."""


class WeightsError(EpsamError):
    """Weights that are missing, damaged or made for another network."""


class DeviceError(EpsamError):
    """A device that is not there or is too small."""


class TrainingError(EpsamError):
    """A training that cannot go on, such as a loss that is not a number."""


class PreflightError(EpsamError):
    """Something was found before a run that would stop it."""


class BusyError(EpsamError):
    """A folder in which another process works."""
