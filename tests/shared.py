"""Where the larger real test material lies, for tests that want more than the bundled sample."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


def shared(name: str) -> Path:
    """The path of a shared file, or a skip that says which file is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"real test material not at hand: {name} (looked under {SHARED})")
    return path
