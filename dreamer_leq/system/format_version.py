"""The version of what a run leaves on disk: configuration, facts, checkpoints.

It goes up with every change after which a run of before can't be read any more. Runs
from before there were versions have none, which counts as 0.
"""

from typing import Any

from dreamer_leq.system.errors import UserError

FORMAT = 1


def refuse_newer(found: Any, where: str) -> None:
    """Raise UserError where `where` is of a later version than this one reads."""
    if not isinstance(found, int) or found > FORMAT:
        raise UserError(
            f"{where} is of format {found}, and this version of dreamer-leq reads up "
            f"to {FORMAT}: update dreamer-leq"
        )
