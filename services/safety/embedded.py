"""The default backend: the general estimate of toxicity, by models that come in wheels."""

from __future__ import annotations

from collections.abc import Sequence

from services.safety.windows import WindowReader


class EmbeddedBackend:
    """The general estimate of a text's worst window. Not a probability: its ranking is measured, its scale is not
    calibrated."""

    name = "embedded"
    toxic_from = 0.5
    batch_size = 16
    timeout_seconds = 60.0  # 16 of the longest texts take 20 s of a core

    def __init__(self) -> None:
        """Loads the models; takes some seconds and about 500 MB."""
        self._reader = WindowReader()
        self.digest = f"{self._reader.embedding_digest}.{self._reader.linear_digest}"

    def estimate(self, texts: Sequence[str]) -> list[float]:
        """As `Backend.estimate`. A text without anything but blanks is harmless, 0."""
        windows = self._reader.read(texts)
        return windows.worst(windows.general, 0.0).tolist()
