"""Reading of files that someone else may have put there: regular ones only, and of limited size."""

import errno
import os
import stat
from pathlib import Path


def read(path: Path, limit: int) -> bytes:
    """Returns the content of a regular file, or of the one that a symbolic link leads to.

    Opening a FIFO or a device could block for ever, or yield data without end.

    Raises:
        OSError: it cannot be read, it is not a regular file, or it has more bytes than the limit.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"more than {limit} bytes")
    return content
