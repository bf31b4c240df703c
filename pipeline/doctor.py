"""Look at the environment and say what would go wrong before a long run does."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path

from pipeline.storage import is_url

PACKAGES = ("pipeline", "tokenizer", "train")
Check = tuple[str, bool | None, str]
"""What was looked at, the verdict (None: only information), and the detail."""


def checks(corpus: str = ".") -> list[Check]:
    """Look at Python, our packages, the versions of what they need, the Beam runner, processors, disk and GPU."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found: list[Check] = [("Python", (3, 10) <= sys.version_info[:2] < (3, 14), f"{version} (3.10 to 3.13)")]
    found += [_package(name) for name in PACKAGES]
    found += _requirements()
    if importlib.util.find_spec("apache_beam"):
        found.append(_runner())
    found.append(("processors", None, str(len(os.sched_getaffinity(0)))))
    if not is_url(corpus):
        found.append(_disk(corpus))
    found.append(("GPU", None, _gpu()))
    return found


def _package(name: str) -> Check:
    """Whether the package that Python finds under a name as common as ours is ours."""
    ours = Path(__file__).resolve().parents[1]
    spec = importlib.util.find_spec(name)
    origin = Path(spec.origin).resolve().parents[1] if spec and spec.origin else None
    wrong = f"found in {origin}: install corpusmill in an environment of its own"
    return f"package {name} is corpusmill's", origin == ours, str(origin) if origin == ours else wrong


def _requirements() -> list[Check]:
    """The versions of what corpusmill needs, against the ranges it states; an extra may be absent, not half there."""
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:  # the base install, which needs pyarrow and numpy alone
        return [(name, None, importlib.metadata.version(name)) for name in ("pyarrow", "numpy")]
    found: list[Check] = []
    missing: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("corpusmill") or []:
        extra = (re.findall(r"""extra == ['"](\w+)['"]""", line) or [""])[0]
        requirement = Requirement(line)
        if extra == "dev" or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        missing.setdefault(extra, [])
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            missing[extra].append(requirement.name)
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        check = (requirement.name, fits, version if fits else f"{version}, but {requirement.specifier} is needed")
        if check not in found:
            found.append(check)
    for extra, names in missing.items():
        command = f"pip install 'corpusmill[{extra}]'"
        if extra:
            found.append((f"extra [{extra}]", None, f"without {', '.join(names)}: {command}" if names else "complete"))
    return found


def _runner() -> Check:
    from pipeline.jobs.runner import works

    trouble = works()
    return "Beam runs a pipeline", not trouble, trouble or "FnApiRunner"


def _disk(corpus: str) -> Check:
    folder = Path(corpus).resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return f"disk at {folder}", free > 2 * 10**9, f"{free / 1e9:.0f} GB free"


def _gpu() -> str:
    """The models of the NVIDIA devices, as the driver lists them."""
    models = [
        line.split(":", 1)[1].strip()
        for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in path.read_text().splitlines()
        if line.startswith("Model:")
    ]
    return ", ".join(models) or "none"
