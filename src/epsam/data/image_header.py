"""How large an image says it is, read from its header: a few kilobytes can be made to unfold into
gigabytes.
"""

import struct

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_JP2 = b"\0\0\0\x0cjP  "
_JPEG_2000 = b"\xff\x4f\xff\x51"
_WIDTH, _LENGTH = 256, 257  # TIFF tags


def image_size_from_header(content: bytes) -> tuple[int, int] | None:
    """Width and height that a PNG, JPEG, TIFF or JPEG 2000 states, px; (0, 0) if its header is
    damaged; None for other formats.
    """
    try:
        if content[:8] == _PNG:
            width, height = struct.unpack(">II", content[16:24])
            return width, height
        if content[:3] == _JPEG:
            return _of_jpeg(content)
        if content[:4] == _JPEG_2000 or content[:8] == _JP2:
            right, bottom, left, top = struct.unpack_from(
                ">IIII", content, max(content.find(_JPEG_2000), 0) + 8
            )
            return max(right - left, 0), max(bottom - top, 0)
        if content[:2] in (b"II", b"MM") and content[2:4].strip(b"\0") in (b"*", b"+"):
            return _of_tiff(content)
    except (struct.error, IndexError):
        return 0, 0
    return None


def _of_jpeg(content: bytes) -> tuple[int, int]:
    """From the first start-of-frame segment; the segments before it are skipped by their
    lengths.
    """
    place = 2
    while content[place] == 0xFF:
        kind = content[place + 1]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", content[place + 5 : place + 9])
            return width, height
        if kind == 0xFF:
            place += 1
        else:
            place += 2 + (
                0
                if 0xD0 <= kind <= 0xD9 or kind == 1
                else struct.unpack_from(">H", content, place + 2)[0]
            )
    return 0, 0


def _of_tiff(content: bytes) -> tuple[int, int]:
    """From the first directory, of classic or of BigTIFF."""
    order = "<" if content[:2] == b"II" else ">"
    big = 43 in content[2:4]
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), content, start)
    first, step, value = (start + 8, 20, 12) if big else (start + 2, 12, 8)
    found = {_WIDTH: 0, _LENGTH: 0}
    for place in range(first, min(first + count * step, len(content) - step + 1), step):
        tag, kind = struct.unpack_from(order + "HH", content, place)
        form = {3: "H", 4: "I", 16: "Q"}.get(kind)
        if tag in found and form:
            (found[tag],) = struct.unpack_from(order + form, content, place + value)
    return found[_WIDTH], found[_LENGTH]
