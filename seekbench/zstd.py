"""Reading zstd files, in a module of its own so that it loads no arrays."""

from __future__ import annotations

import io
from typing import IO, Any


class ZstdReader(io.RawIOBase):
    """Decompresses all frames of a file. zstandard's own reader takes a truncated frame for the end."""

    def __init__(self, raw: IO[bytes]) -> None:
        import zstandard

        self._raw, self._new, self._error = raw, zstandard.ZstdDecompressor, zstandard.ZstdError
        self._frame: Any = None
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._pending:
            packed = self._frame.unused_data if self._frame is not None and self._frame.eof else b""
            packed = packed or self._raw.read(1 << 16)
            if not packed:
                if self._frame is None or self._frame.eof:
                    return 0
                raise EOFError("the file ends inside a compressed frame")
            if self._frame is None or self._frame.eof:
                self._frame = self._new().decompressobj()
            try:
                self._pending = self._frame.decompress(packed)
            except self._error as error:
                raise EOFError(str(error)) from error
        count = min(len(target), len(self._pending))
        target[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
