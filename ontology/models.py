"""Data and models as agents speak of them: by reference and digest, never as tensors."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from ontology.content import Concept

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""A name that is safe as a file name: it starts with a letter or digit and holds no slash."""

TaskKind = Literal["classification", "regression"]


class DatasetRef(Concept):
    """A dataset by address and digest: whoever reads it checks that it is the one that was meant."""

    uri: Annotated[str, Field(min_length=1, max_length=2048)]
    """A ``file:`` address, or a path relative to the reader's data folder. CSV, NPZ or Parquet."""
    sha256: Sha256


class DeviceDescription(Concept):
    """One device that can compute."""

    kind: Literal["cpu", "cuda"]
    name: str
    memory_bytes: Annotated[int, Field(ge=0)]
    """The memory of the device, not what is free of it."""


class ResourceDescription(Concept):
    """What a machine offers."""

    cpus: Annotated[int, Field(ge=1)]
    memory_bytes: Annotated[int, Field(ge=0)]
    devices: tuple[DeviceDescription, ...]
    """Every device the agent may use, the preferred one first; never empty."""


class ModelVersion(Concept):
    """One trained model: where its files are, what they are, and how good it is."""

    name: Name
    version: Annotated[int, Field(ge=1)]
    uri: str
    """The address of the weights file; its manifest stands beside it."""
    sha256: Sha256
    """The digest of the weights file."""
    data_sha256: Sha256
    """The digest of the data it was trained on."""
    network: str
    kind: TaskKind
    metrics: dict[str, float]
    """Measured on the held-out part: accuracy, macro_f1, log_loss; or mae, rmse, r2."""
    created: datetime
    code_version: str

    @property
    def label(self) -> str:
        """How people name it: ``digits:3``."""
        return f"{self.name}:{self.version}"
