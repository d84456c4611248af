"""`python -m tagtrail`, and the command `tagtrail`."""

from __future__ import annotations

import sys

from tagtrail.cli import app
from tagtrail_kernel.errors import TagtrailError


def main() -> None:
    """Run the command line; an expected failure is one sentence and exit code 2."""
    try:
        app()
    except TagtrailError as error:
        detail = getattr(error, "detail", str(error))
        sys.stderr.write(f"tagtrail: {detail}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
