"""What stops the agent: its text says what to do.

AgentError
├── ConfigError          the configuration file; names the line
├── EnrolmentError       the server refuses the code, or its answer cannot be used
├── RemoteConfigError    a pushed configuration that this gateway may not take
├── UpdateError          a manifest or an artefact that may not be installed
└── DeliveryError
    ├── UnreachableError nobody answers, or not in time: try again
    └── RefusedError     this batch will never be taken: put it aside
"""

from __future__ import annotations


class AgentError(Exception):
    """The agent, or one of its inputs, can never work as configured; the text says what to do."""


class ConfigError(AgentError):
    """The configuration cannot be used.

    Attributes:
        line: Line of the file, from 1; None if it is about the whole file.
        what: What is wrong and what to do.
    """

    def __init__(self, what: str, *, line: int | None = None, path: str | None = None) -> None:
        self.line, self.what, self.path = line, what, path
        place = f"{path or 'configuration'}, line {line}: " if line is not None else ""
        super().__init__(f"{place or (path + ': ' if path else '')}{what}")


class EnrolmentError(AgentError):
    """The server does not take the code, or what it answers cannot be used."""


class RemoteConfigError(AgentError):
    """A pushed configuration is not signed by the pinned key, not for this gateway, or older."""


class UpdateError(AgentError):
    """A manifest or an artefact may not be installed; what runs stays."""


class DeliveryError(AgentError):
    """A batch could not be handed over."""


class UnreachableError(DeliveryError):
    """Nobody answers, or the answer is that it should be tried again."""


class RefusedError(DeliveryError):
    """The server will never take this batch.

    Attributes:
        reason: Short code, for counting.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)
