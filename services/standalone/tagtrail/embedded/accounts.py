"""Whom the servers run as.

PostgreSQL refuses root. A plain user runs the servers as himself. Root runs them as an existing
unprivileged account, and nothing is opened for it: what the account cannot reach is copied.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tagtrail.embedded.errors import EmbeddedError

_PREFERRED: Final = ("tagtrail", "nobody")
"""Accounts that root drops to, best first: an operator's own, else what every system has.

initdb looks its user up by name, so a bare number does not do.
"""


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged account.

    Attributes:
        name: Its name, for messages.
        uid: User number, not 0.
        gid: Group number.
    """

    name: str
    uid: int
    gid: int


def choose_account(data: Path) -> Account | None:
    """Choose whom the servers run as.

    Args:
        data: The servers' folder; if it exists and is not root's, its owner goes on owning it.

    Returns:
        The account to drop to; None when this process is not root and stays who it is.

    Raises:
        EmbeddedError: this process is root and the system has no account to drop to.
    """
    if os.geteuid() != 0:
        return None
    owner = data.stat().st_uid if data.exists() else 0
    for entry in (*_owner(owner), *_named()):
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        f"PostgreSQL does not run as root and none of the accounts {', '.join(_PREFERRED)} exists; "
        "create one (useradd --system tagtrail) or start Tagtrail as a plain user"
    )


def _owner(uid: int) -> list[pwd.struct_passwd]:
    try:
        return [pwd.getpwuid(uid)] if uid != 0 else []
    except KeyError:
        return []


def _named() -> list[pwd.struct_passwd]:
    found = []
    for name in _PREFERRED:
        try:
            found.append(pwd.getpwnam(name))
        except KeyError:
            continue
    return [entry for entry in found if entry.pw_uid != 0]


def may_pass(folder: Path, account: Account) -> bool:
    """Tell whether an account can walk through a folder and all its parents."""
    real = folder.resolve()
    return all(_granted(step, account) & 0o1 for step in (real, *real.parents))


def may_run(program: Path, account: Account) -> bool:
    """Tell whether an account can reach, read and execute a program."""
    real = program.resolve()
    return may_pass(real.parent, account) and _granted(real, account) & 0o5 == 0o5


def _granted(path: Path, account: Account) -> int:
    """Return the rwx bits (0 to 7) that an account has on one path."""
    status = path.stat()
    if status.st_uid == account.uid:
        return status.st_mode >> 6 & 0o7
    if status.st_gid == account.gid:
        return status.st_mode >> 3 & 0o7
    return status.st_mode & 0o7
