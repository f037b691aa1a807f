"""Exceptions whose one-line message names the field or file and says what to do."""


class ConfigError(ValueError):
    """An invalid setting. `field` is its dotted path in RunConfig, e.g. "optim.lr"."""

    def __init__(self, field: str, message: str):
        super().__init__(f"{field}: {message}")
        self.field = field


class DataError(ValueError):
    """A data set that is missing, damaged or not in the expected layout."""


class BadFile(DataError):
    """One file of a data set that cannot be used; the message does not name it."""


class DataMissing(DataError):
    """A path that does not exist."""


class DataPending(DataError):
    """A data set that is still being read in the background."""


class Cancelled(Exception):
    """The user cancelled a download or an import; nothing was kept."""


class RunError(ValueError):
    """A run that does not exist, exists already, or is held by another process."""


class StudyError(ValueError):
    """A study that does not exist, cannot be read, or is held by another process."""


class CheckpointError(ValueError):
    """Weights or a checkpoint that is damaged or does not fit the network."""


class TrainingFailed(RuntimeError):
    """Training cannot continue. The message names the step and what to try."""
