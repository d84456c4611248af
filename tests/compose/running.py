"""Runs outside programs and says what happens."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_BEGAN_S = time.monotonic()


class CommandError(Exception):
    """A program failed; the message has its command and the end of its output."""


def say(text: str) -> None:
    sys.stdout.write(f"{time.monotonic() - _BEGAN_S:6.1f} s  {text}\n")
    sys.stdout.flush()


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    within_s: float = 600,
) -> str:
    """Run a program to its end; returns its standard output.

    Raises:
        CommandError: it failed or took too long.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, env=environment, cwd=folder, capture_output=True, text=True,
            timeout=within_s, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"`{' '.join(words)}` took longer than {within_s} s") from error
    if done.returncode != 0:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise CommandError(f"`{' '.join(words)}` ended with {done.returncode}:\n{end}")
    return done.stdout


def pipe(source: Sequence[str | Path], target: Sequence[str | Path], **environment: str) -> None:
    """Run a program whose output is the input of another one.

    Raises:
        CommandError: one of them failed.
    """
    with subprocess.Popen([str(w) for w in source], stdout=subprocess.PIPE) as first:
        second = subprocess.run(
            [str(w) for w in target], env=environment or None, stdin=first.stdout,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if first.returncode != 0 or second.returncode != 0:
        raise CommandError(f"{source[0]} ended with {first.returncode}, {target[0]}: {second}")
