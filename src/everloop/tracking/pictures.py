"""Pictures as PNG, without a library for pictures."""

import io
import struct
import zlib
from typing import Any

from everloop.errors import InvalidInput

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's number for grey, grey with transparency, colour, colour with transparency, by channels."""


def png(picture: Any) -> bytes:
    """The bytes of a PNG file (W3C PNG, third edition, section 5): 8 bits a channel, deflated, rows unfiltered.

    picture: an array of height x width or height x width x channels (1 to 4), of whole numbers 0 to 255, booleans, or floats
    0.0 to 1.0; or anything with ``save(file, format=)``, as pictures of PIL have; or something that numpy makes such an array of.
    Raises InvalidInput for other shapes and numbers.

    >>> import numpy as np
    >>> png(np.zeros((2, 3), np.uint8))[:8]
    b'\\x89PNG\\r\\n\\x1a\\n'
    """
    import numpy as np

    if callable(getattr(picture, "save", None)):
        sink = io.BytesIO()
        picture.save(sink, format="PNG")
        return sink.getvalue()
    numbers = np.asarray(picture)
    if numbers.ndim == 2:
        numbers = numbers[:, :, None]
    if numbers.ndim != 3 or numbers.shape[2] not in _COLOUR_TYPES or not numbers.size:
        raise InvalidInput(
            f"an array of shape {np.asarray(picture).shape} is not a picture",
            hint="give height x width, or height x width x channels with 1, 3 or 4 of them",
        )
    pixels = _bytes(numbers)
    height, width, channels = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = pixels.reshape(height, -1)
    body = zlib.compress(rows.tobytes())
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _bytes(numbers: Any) -> Any:
    import numpy as np

    if numbers.dtype == np.uint8:
        return numbers
    if numbers.dtype == bool:
        return numbers.astype(np.uint8) * 255
    if numbers.dtype.kind in "iu" and numbers.min() >= 0 and numbers.max() <= 255:
        return numbers.astype(np.uint8)
    if numbers.dtype.kind == "f" and numbers.min() >= 0.0 and numbers.max() <= 1.0:  # NaN is neither
        return np.rint(numbers * 255).astype(np.uint8)
    raise InvalidInput(
        "the numbers of a picture are out of range",
        hint="whole numbers from 0 to 255, or floats from 0.0 to 1.0",
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
