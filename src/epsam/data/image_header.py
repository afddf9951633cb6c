"""The size of an image as its header states it.

A few kilobytes of a compressed image can unfold into gigabytes, so the size is checked before the
pixels are decoded.
"""

import struct

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_BMP = b"BM"
_JP2 = b"\0\0\0\x0cjP  "
_JPEG_2000 = b"\xff\x4f\xff\x51"
# TIFF tags.
_WIDTH, _LENGTH = 256, 257
_ORIENTATION = 274


def image_size_from_header(content: bytes) -> tuple[int, int] | None:
    """Width and height in px that the header of a PNG, JPEG, TIFF, BMP or JPEG 2000 image states.

    (0, 0) if the header is damaged, None for other formats.
    """
    try:
        if content[:8] == _PNG:
            width, height = struct.unpack(">II", content[16:24])
            return width, height
        if content[:3] == _JPEG:
            return _size_of_jpeg(content)
        if content[:4] == _JPEG_2000 or content[:8] == _JP2:
            return _size_of_jpeg_2000(content)
        if content[:2] == _BMP:
            return _size_of_bmp(content)
        if content[:2] in (b"II", b"MM") and content[2:4].strip(b"\0") in (b"*", b"+"):
            return _size_of_tiff(content)
    except (struct.error, IndexError):
        return 0, 0
    return None


def orientation_from_header(content: bytes) -> int:
    """EXIF's orientation that a JPEG states, 1 to 8; 1 for other content."""
    offset = 2
    try:
        while content[:3] == _JPEG and content[offset] == 0xFF:
            marker = content[offset + 1]
            # The pixels begin: EXIF comes before them.
            if marker == 0xDA:
                break
            (length,) = struct.unpack_from(">H", content, offset + 2)
            if marker == 0xE1 and content[offset + 4 : offset + 10] == b"Exif\0\0":
                return _orientation_of_tiff(content[offset + 10 : offset + 2 + length])
            offset += 2 + length
    except (struct.error, IndexError):
        pass
    return 1


def _orientation_of_tiff(content: bytes) -> int:
    """The orientation in the first directory of EXIF, which has the form of a TIFF."""
    order = "<" if content[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(order + "I", content, 4)
    (count,) = struct.unpack_from(order + "H", content, directory)
    for number in range(count):
        entry = directory + 2 + 12 * number
        (tag,) = struct.unpack_from(order + "H", content, entry)
        if tag == _ORIENTATION:
            (orientation,) = struct.unpack_from(order + "H", content, entry + 8)
            return orientation if 1 <= orientation <= 8 else 1
    return 1


def _size_of_bmp(content: bytes) -> tuple[int, int]:
    (header_bytes,) = struct.unpack_from("<I", content, 14)
    # The oldest header has 12 bytes, and sides of 16 bits.
    if header_bytes == 12:
        width, height = struct.unpack_from("<HH", content, 18)
        return width, height
    width, height = struct.unpack_from("<ii", content, 18)
    # A negative height says that the rows run downwards.
    return max(width, 0), abs(height)


def _size_of_jpeg(content: bytes) -> tuple[int, int]:
    offset = 2
    while content[offset] == 0xFF:
        marker = content[offset + 1]
        # The first start-of-frame segment states the size. 0xC4, 0xC8 and 0xCC lie in the same
        # range but are Huffman tables, reserved, and arithmetic coding.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", content[offset + 5 : offset + 9])
            return width, height

        if marker == 0xFF:
            # A fill byte before the marker.
            offset += 1
        elif 0xD0 <= marker <= 0xD9 or marker == 1:
            # Restart, start, end and temporary markers stand alone, without a length.
            offset += 2
        else:
            (length,) = struct.unpack_from(">H", content, offset + 2)
            offset += 2 + length
    return 0, 0


def _size_of_jpeg_2000(content: bytes) -> tuple[int, int]:
    # A JP2 file wraps the bare codestream; the image area stands 8 bytes after the codestream's
    # start.
    codestream = max(content.find(_JPEG_2000), 0)
    right, bottom, left, top = struct.unpack_from(">IIII", content, codestream + 8)
    return max(right - left, 0), max(bottom - top, 0)


def _size_of_tiff(content: bytes) -> tuple[int, int]:
    """The size that the first directory states, of a classic TIFF or a BigTIFF."""
    order = "<" if content[:2] == b"II" else ">"
    is_big = 43 in content[2:4]
    if is_big:
        (directory,) = struct.unpack_from(order + "Q", content, 8)
        (count,) = struct.unpack_from(order + "Q", content, directory)
        first_entry, entry_bytes, value_offset = directory + 8, 20, 12
    else:
        (directory,) = struct.unpack_from(order + "I", content, 4)
        (count,) = struct.unpack_from(order + "H", content, directory)
        first_entry, entry_bytes, value_offset = directory + 2, 12, 8

    # A damaged count may be huge: entries end with the file at the latest.
    end = min(first_entry + count * entry_bytes, len(content) - entry_bytes + 1)
    sizes = {_WIDTH: 0, _LENGTH: 0}
    for offset in range(first_entry, end, entry_bytes):
        tag, value_type = struct.unpack_from(order + "HH", content, offset)
        value_format = {3: "H", 4: "I", 16: "Q"}.get(value_type)
        if tag in sizes and value_format:
            (sizes[tag],) = struct.unpack_from(order + value_format, content, offset + value_offset)
    return sizes[_WIDTH], sizes[_LENGTH]
