"""All cases by name; a new one is an entry in its file's CASES."""

import cases_pixel
import cases_state
from case import Case

CASES: dict[str, Case] = cases_state.CASES | cases_pixel.CASES
