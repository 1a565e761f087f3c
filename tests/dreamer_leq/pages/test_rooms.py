"""What the pages stand on: no JAX, and nothing that imports it."""

import pkgutil
import subprocess
import sys

from dreamer_leq import pages


def test_the_pages_need_no_jax():
    prefix = f"{pages.__name__}."
    names = [m.name for m in pkgutil.walk_packages(pages.__path__, prefix)]
    assert {f"{prefix}run_files", f"{prefix}report.page"} <= set(names)
    program = f"import sys; sys.modules['jax'] = None; import {', '.join(names)}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
