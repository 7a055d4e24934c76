"""The font of legends and captions."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
FILE = Path("mpl-data", "fonts", "ttf", "DejaVuSans.ttf")  # in matplotlib


@cache
def font_of(size: int) -> Font:
    """Return the font in a size, in pixels; decoding it takes 2 ms.

    It is that of matplotlib, which has the letters of most scripts with an alphabet. PIL's own,
    which has English letters only, takes its place if it is missing.
    """
    spec = find_spec("matplotlib")  # which takes half a second to import
    places = spec.submodule_search_locations if spec is not None else None
    for place in places or ():
        try:
            return ImageFont.truetype(Path(place) / FILE, size)
        except (OSError, ImportError):  # no such file, or PIL without FreeType
            continue
    return ImageFont.load_default(size)
