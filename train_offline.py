"""Train an offline RL agent: world model, LEQ in its imagination, score, videos.

Without arguments: the `demo` preset, which needs no data. `--help` explains every key.
"""

import sys

from dreamer_leq.cli import train_main

if __name__ == "__main__":
    sys.exit(train_main())
