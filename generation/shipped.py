"""Which weights and presets come along, told by files alone. Loads no torch."""

import hashlib
from functools import lru_cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
PRETRAINED = HERE / "pretrained"


def is_shipped_preset(name: str) -> bool:
    """Say whether a preset of that name comes along."""
    return any(path.stem == name for path in (HERE / "presets").glob("*.toml"))


def shipped_digests(preset: str) -> set[str]:
    """Return the SHA-256s of the weights that come along for a preset."""
    folder = PRETRAINED / preset
    if folder.parent != PRETRAINED or not folder.is_dir():
        return set()
    files = [(path, path.stat()) for path in folder.glob("*.safetensors")]
    return {_digest(path, found.st_mtime_ns, found.st_size) for path, found in files}


@lru_cache(maxsize=64)
def _digest(path: Path, _changed_ns: int, _size: int) -> str:
    """Return a file's SHA-256, read once for as long as it does not change."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
