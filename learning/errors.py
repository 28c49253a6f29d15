"""What can be wrong with learning.

Each error is one sentence: what, where, how to mend it::

LearningError
├── DatasetError              the data cannot be used as they are
│   ├── DatasetNotFoundError  no such file inside the data folder
│   ├── DatasetChangedError   the file is not the one the digest speaks of
│   ├── DatasetTooLargeError  larger than the limit; nothing was read
│   └── MissingExtraError     reading this format needs a package that is not installed
├── NetworkError              an unknown network, or one that does not fit the data
├── DeviceError               the device asked for is not there, or its memory is too small
├── TrainingError             training went wrong: the loss is no longer a number
├── ModelError                a model cannot be kept or used
│   ├── NoRoomError           the disk that it is to be kept on is full
│   ├── ModelNotFoundError    no such name or version in the store
│   └── ModelDamagedError     the files are not what was saved
├── InputError                the rows do not fit the model
└── Cancelled                 the caller asked training to stop
"""

from __future__ import annotations


class LearningError(Exception):
    """The root of this package's errors; ``str(error)`` is one sentence for people."""


class DatasetError(LearningError):
    """The data cannot be used as they are.

    Attributes:
        source: the file, as the caller named it.
        line: the line in a text file, or the row (from 1) in NPZ and Parquet; None if it is not about one.
        column: the name of the column at fault, or None.
        value: the offending value, or None.
    """

    def __init__(
        self,
        source: str,
        fault: str,
        *,
        line: int | None = None,
        column: str | None = None,
        value: object = None,
        unit: str = "line",
    ) -> None:
        where = "".join(
            (
                source,
                "" if line is None else f", {unit} {line}",
                "" if column is None else f", column {column[:60]!r}",
            )
        )
        super().__init__(f"{where}: {fault}")
        self.source = source
        self.line = line
        self.column = column
        self.value = value


class DatasetNotFoundError(DatasetError):
    """There is no such file inside the data folder."""


class DatasetChangedError(DatasetError):
    """The file is not the one the digest speaks of."""


class DatasetTooLargeError(DatasetError):
    """The file, or what it unpacks to, is larger than the limit; nothing was read."""


class MissingExtraError(DatasetError):
    """Reading this format needs a package that is not installed."""


class NetworkError(LearningError):
    """An unknown network, or one that does not fit the data.

    Attributes:
        network: the name of the network.
    """

    def __init__(self, network: str, fault: str) -> None:
        super().__init__(f"network {network!r}: {fault}")
        self.network = network


class DeviceError(LearningError):
    """The device asked for is not there, or its memory is too small."""


class TrainingError(LearningError):
    """Training went wrong: the loss is no longer a number.

    Attributes:
        epoch: the epoch, from 1, in which it happened.
    """

    def __init__(self, fault: str, *, epoch: int) -> None:
        super().__init__(f"epoch {epoch}: {fault}")
        self.epoch = epoch


class ModelError(LearningError):
    """A model cannot be kept or used.

    Attributes:
        label: ``name`` or ``name:version``, as the caller said it.
    """

    def __init__(self, label: str, fault: str) -> None:
        super().__init__(f"model {label!r}: {fault}")
        self.label = label


class NoRoomError(ModelError):
    """The disk that it is to be kept on is full.

    Attributes:
        room: the bytes that are wanted.
    """

    def __init__(self, label: str, fault: str, *, room: int) -> None:
        super().__init__(label, fault)
        self.room = room


class ModelNotFoundError(ModelError):
    """There is no such name or version in the store."""


class ModelDamagedError(ModelError):
    """The files are not what was saved."""


class InputError(LearningError):
    """The rows do not fit the model.

    Attributes:
        row: the first row at fault, from 1; None if it is about all.
    """

    def __init__(self, fault: str, *, row: int | None = None) -> None:
        super().__init__(fault if row is None else f"row {row}: {fault}")
        self.row = row


class Cancelled(LearningError):  # noqa: N818 - it is an outcome that was asked for
    """The caller asked training to stop; nothing was kept.

    Attributes:
        epochs: the epochs that were complete.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__(f"training was cancelled after {epochs} complete epochs")
        self.epochs = epochs
