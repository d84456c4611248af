"""`python -m tagtrail_agent`."""

import sys

from tagtrail_agent.cli import main

if __name__ == "__main__":
    sys.exit(main())
