"""The films of a run, inside the page."""

import base64
from dataclasses import dataclass

from dreamer_leq.pages.parts import size
from dreamer_leq.pages.run_files import RunFiles

LARGEST = 12_000_000  # bytes of one film; in the page it takes a third more
CAPTIONS = {
    "policy": "The policy in its environment, with the return so far.",
    "open_loop": (
        "Dataset sequences: true, imagined and difference. Blue frames are seen, "
        "orange ones predicted from the actions alone."
    ),
    "dream": (
        "The policy's dream from one state of the dataset, a row for each member of "
        "the ensemble, with the rewards that it predicts."
    ),
}
_ORDER = tuple(CAPTIONS)


@dataclass(frozen=True)
class Film:
    """A film and its caption; without `data` the caption says why."""

    name: str
    caption: str
    data: str = ""  # base64


def films(run: RunFiles) -> list[Film]:
    """The films in videos/, the known ones first."""
    found = sorted((run.path / "videos").glob("*.mp4"))
    place = {name: i for i, name in enumerate(_ORDER)}
    found.sort(key=lambda path: place.get(path.stem, len(place)))
    return [_film(run, path.stem) for path in found]


def _film(run: RunFiles, name: str) -> Film:
    file = run.path / "videos" / f"{name}.mp4"
    try:
        taken = file.stat().st_size
        if taken > LARGEST:
            return Film(
                name,
                f"{file} has {size(taken)}, and a page takes films of up to "
                f"{size(LARGEST)}: open the file itself.",
            )
        data = base64.b64encode(file.read_bytes()).decode()
    except OSError as error:
        return Film(name, f"{file}: cannot be read: {error.strerror}")
    return Film(name, CAPTIONS.get(name, name), data)
