"""Objects of the local S3 on disk, so that thousands of images do not fill the memory."""

import os
import tempfile
from pathlib import Path


class DiskBuffer:
    """Replaces the ``SpooledTemporaryFile`` in which moto keeps an object.

    The file is opened anew for each call, since a process may not keep as many files open as there are objects.
    """

    def __init__(self, folder: Path) -> None:
        """Make an empty file in ``folder``."""
        handle, path = tempfile.mkstemp(dir=folder)
        os.close(handle)
        self._path, self._position = Path(path), 0

    def seek(self, position: int) -> None:
        """Read or write from ``position`` on."""
        self._position = position

    def read(self, size: int = -1) -> bytes:
        """The next ``size`` bytes; all that are left by default."""
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = file.read(size)
        self._position += len(data)
        return data

    def write(self, data: bytes) -> None:
        """Put ``data`` where the position is."""
        with self._path.open("r+b") as file:
            file.seek(self._position)
            file.write(data)
        self._position += len(data)

    def truncate(self) -> None:
        """Drop what lies behind the position."""
        os.truncate(self._path, self._position)

    def close(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
