"""Damage that image decoders pass over in silence: in the scan of a JPEG, and in the chunks of a PNG."""

import io
import re
import zlib

PNG = b"\x89PNG\r\n\x1a\n"
_MARKER = re.compile(rb"\xff+([\x01-\xfe])")  # what is not a byte of the scan: a byte ff of it is written ff00
_RESTARTS, _END, _SCAN = range(0xD0, 0xD8), 0xD9, 0xDA
_LOOK_AHEAD = 8  # bytes that libjpeg likes to see beyond the last code


class DamageError(ValueError):
    """A file decodes, but not to what was written."""


class JpegFeed(io.BytesIO):
    """A JPEG file that tells whether its decoder needed exactly the bytes that its scan has.

    libjpeg only warns of a scan with too many or too few bytes, and Pillow drops the warning. But a decoder that is
    given the file in pieces asks for the next one only if it needs it. A sound file needs the last byte of its scan
    and nothing behind it. Bytes 00 or ff that fill a scan up are no damage.

    Files of several scans (progressive ones) are handed out whole: of those only the markers are looked at.

    Example:
        >>> from PIL import Image
        >>> buffer = io.BytesIO()
        >>> Image.new("L", (8, 8), 40).save(buffer, "JPEG")
        >>> feed = JpegFeed(buffer.getvalue())
        >>> image = Image.open(feed)
        >>> feed.begin()
        >>> _ = image.load()
        >>> feed.check()
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._pieces: list[bytes] | None = None
        self._given = 0
        self._single = False

    def begin(self) -> None:
        """From now on the file is decoded: hand it out in pieces.

        Raises:
            DamageError: If the restart markers of the scan are not in order.
        """
        data = self.getvalue()
        start = _scan(data)
        end, marker = (0, None) if start is None else _end_of_scan(data, start)
        self._single = marker == _END
        if not self._single:
            self._pieces = [data]
            return
        needed = len(data[:end].rstrip(b"\x00\xff")) - 1
        self._pieces = [data[:needed], data[needed:end] + bytes(_LOOK_AHEAD), data[end:]]

    def read(self, size: int | None = -1, /) -> bytes:
        """What :class:`io.BytesIO` reads; once decoding has begun, the next piece."""
        if self._pieces is None:
            return super().read(size)
        self._given += 1
        return self._pieces[self._given - 1] if self._given <= len(self._pieces) else b""

    def check(self) -> None:
        """After decoding.

        Raises:
            DamageError: If the scan had too many or too few bytes.
        """
        if self._single and self._given != 2:
            fault = "more" if self._given < 2 else "fewer"
            raise DamageError(f"its scan has {fault} bytes than its pixels need")


def check_png(data: bytes) -> None:
    """Compare the checksum of every chunk.

    Raises:
        DamageError: With the first chunk whose checksum is another.

    Example:
        >>> check_png(PNG + bytes.fromhex("0000000049454e44ae426083"))
        Traceback (most recent call last):
        semexplain.system.damage.DamageError: the checksum of its chunk IEND does not fit
    """
    at = len(PNG)
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        checksum = data[at + 8 + length : at + 12 + length]
        if zlib.crc32(memoryview(data)[at + 4 : at + 8 + length]) != int.from_bytes(checksum, "big"):
            raise DamageError(f"the checksum of its chunk {kind.decode('ascii', 'backslashreplace')} does not fit")
        if kind == b"IEND":
            return
        at += 12 + length


def _scan(data: bytes) -> int | None:
    """Where the first scan begins; None if the segments before it are not as usual."""
    at = 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        marker = data[at + 1]
        if marker == 0xFF:  # fills up
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SCAN:
            return at
    return None


def _end_of_scan(data: bytes, start: int) -> tuple[int, int | None]:
    """Where a scan ends, and the marker behind it."""
    for number, match in enumerate(_MARKER.finditer(data, start)):
        marker = match[1][0]
        if marker not in _RESTARTS:
            return match.start(), marker
        if marker - _RESTARTS[0] != number % 8:
            raise DamageError(f"restart marker {marker - _RESTARTS[0]} of its scan stands in place of {number % 8}")
    return len(data), None
