"""What is attached to a live model while it trains, and leaves no trace when it is detached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager


class Attachment(ABC):
    """Replaces attributes of a live model; it must be detached whenever that model is deep-copied."""

    @property
    @abstractmethod
    def attached(self) -> bool:
        """Whether it is attached."""

    @abstractmethod
    def attach(self) -> None:
        """Attach it; a second call does nothing."""

    @abstractmethod
    def detach(self) -> None:
        """Leave the model as it was; a second call does nothing."""

    @contextmanager
    def detached(self) -> Iterator[None]:
        """Detach for a block, and attach again at its end if it was attached."""
        was_attached = self.attached
        self.detach()
        try:
            yield
        finally:
            if was_attached:
                self.attach()
