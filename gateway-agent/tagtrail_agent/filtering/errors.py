"""What can be wrong with rules.

RulesError
├── RulesDocumentError   the document; names the member
└── RulesSignatureError  not signed by the key that this gateway trusts, or not checkable
"""

from __future__ import annotations


class RulesError(ValueError):
    """Rules cannot be used; those in force stay in force."""


class RulesDocumentError(RulesError):
    """The document breaks the schema.

    Attributes:
        member: Path of the member, for example `profiles[1].set.heartbeat_s`; "" = the document.
    """

    def __init__(self, member: str, what: str) -> None:
        self.member = member
        super().__init__(f"{member or 'rules'}: {what}")


class RulesSignatureError(RulesError):
    """The signature is not that of the trusted key over these bytes, or cannot be checked."""
