"""Errors a person can act on: one line that names the field or file and says what to do."""


class ConfigError(ValueError):
    """A setting that cannot work. `field` is its dotted name in RunConfig, e.g. "optim.lr"."""

    def __init__(self, field: str, message: str):
        super().__init__(f"{field}: {message}")
        self.field = field


class DataError(ValueError):
    """A data set that is absent, damaged or not in the expected layout."""


class Cancelled(Exception):
    """A person asked for a long preparation (download, import) to end; nothing was kept."""


class RunError(ValueError):
    """A run that does not exist, exists already, or is held by another process."""


class CheckpointError(ValueError):
    """Weights or a checkpoint that are damaged or do not fit the network."""


class TrainingFailed(RuntimeError):
    """A training that cannot go on; the message says at which step and what to try."""
