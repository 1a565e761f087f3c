"""`python -m dreamer_leq COMMAND`: train, eval, sweep."""

import sys

from dreamer_leq.cli import main

if __name__ == "__main__":
    sys.exit(main())
