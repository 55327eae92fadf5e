"""Files that are written whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4


def write_files(directory: Path, files: Mapping[str, str | bytes]) -> list[Path]:
    """Write texts, in UTF-8, and bytes into a directory, made if need be; its other files are left alone.

    All of them are first written beside their places, and only then moved there, each in one step: a failure to
    write leaves no half-written file and no temporary one.

    Args:
        directory: Where.
        files: Name to text or bytes.

    Returns:
        The files' paths, in the given order.

    Raises:
        OSError: If the directory cannot be made or a file cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    staged: dict[Path, Path] = {}
    try:
        for name, text in files.items():
            target = directory / name
            if target.is_dir():
                message = f"{target} is a directory; move it away or choose another place"
                raise IsADirectoryError(message)
            staged[target] = temporary = directory / f".{name}.{uuid4().hex}.tmp"
            with temporary.open("xb") as file:
                file.write(text if isinstance(text, bytes) else text.encode())
                file.flush()
                os.fsync(file.fileno())
        for target, temporary in staged.items():
            temporary.replace(target)
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)
    return list(staged)
