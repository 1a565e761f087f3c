"""Score a run in its environment, and write videos of what it does and imagines."""

import sys

from dreamer_leq.cli import eval_main

if __name__ == "__main__":
    sys.exit(eval_main())
