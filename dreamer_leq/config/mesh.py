"""A mesh of devices as one writes it: `data=8`, or nothing."""

AXES = ("data",)  # data: batches are divided over it
WORDS = "empty (one device) or data=N, for batches divided over N devices"


def axes(text: str) -> dict[str, int]:
    """The mesh's axes and their sizes: {"data": 8}; {} for an empty text.

    Axes are separated by commas. Raises ValueError where `is_mesh` is false.
    """
    sizes: dict[str, int] = {}
    for axis in text.split(",") if text else ():
        name, _, size = axis.partition("=")
        if name not in AXES or name in sizes or int(size) < 1:
            raise ValueError(axis)
        sizes[name] = int(size)
    return sizes


def is_mesh(text: str) -> bool:
    try:
        axes(text)
    except ValueError:
        return False
    return True
