"""Installs Chromium for the browser tests, where it is missing. Run by `make setup`.

Debian's own package is used, through the system's package manager; nothing is downloaded from
elsewhere. Programs named by the variable CHROMIUM, and those on the path, are taken as they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_TIMEOUT_S = 900


class BrowserMissingError(Exception):
    """There is no Chromium, and it cannot be installed from here."""


def find_chromium() -> str | None:
    """Return the path of a Chromium: the one CHROMIUM names, else the first on the path."""
    named = os.environ.get("CHROMIUM")
    if named:
        found = shutil.which(named)
        if found is None:
            raise BrowserMissingError(
                f"CHROMIUM is set to {named}, but there is no such program; correct or unset it."
            )
        return found
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def installer() -> list[str]:
    """Return how apt-get is called from here: as root, or through sudo without a question."""
    if shutil.which("apt-get") is None:
        raise BrowserMissingError(
            "The browser tests need Chromium, and this system has no apt-get to install it with. "
            "Install Chromium by other means, or set CHROMIUM to the path of one."
        )
    if os.geteuid() == 0:
        return ["apt-get"]
    sudo = shutil.which("sudo")
    if (
        sudo
        and subprocess.run([sudo, "-n", "true"], check=False, capture_output=True).returncode == 0
    ):
        return [sudo, "-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    raise BrowserMissingError(
        "The browser tests need Chromium. Install it (`sudo apt-get install chromium`), or set "
        "CHROMIUM to the path of one; this user is not root and may not use sudo without a password."
    )


def install() -> None:
    """Install Debian's chromium."""
    call = installer()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (
        ["update", "-qq"],
        ["install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core"],
    ):
        sys.stdout.write(f"setup: apt-get {' '.join(words)} …\n")
        sys.stdout.flush()
        done = subprocess.run(
            [*call, *words], check=False, env=environment, capture_output=True, text=True,
            timeout=INSTALL_TIMEOUT_S,
        )  # fmt: skip
        if done.returncode != 0:
            reason = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
            raise BrowserMissingError(
                f"apt-get {words[0]} failed; fix this and try again:\n{reason}"
            )


def main() -> int:
    """Make sure that there is a Chromium; returns the exit code."""
    try:
        found = find_chromium()
        if found is None:
            install()
            found = find_chromium()
        if found is None:
            raise BrowserMissingError("apt-get installed chromium, but it is not on the path.")
    except (BrowserMissingError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"setup: {error}\n")
        return 1
    sys.stdout.write(f"setup: Chromium is {found}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
