"""The phases of a run in the order of training, in words."""

PHASES = {
    "world_model": "world model",
    "bc": "behaviour cloning",
    "fqe": "fitted Q evaluation",
    "leq": "LEQ",
}
