"""Look at the environment and say what would go wrong before a long run does."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path

from pipeline.storage import is_url

PACKAGES = ("pipeline", "tokenizer", "train")
_OURS = Path(__file__).resolve().parents[1]
_INSTALL = "in a clone of corpusmill: pip install '.[pipeline,train]'"
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
    spec = importlib.util.find_spec(name)
    origin = Path(spec.origin).resolve().parents[1] if spec and spec.origin else None
    wrong = f"found in {origin}: install corpusmill in an environment of its own"
    return f"package {name} is corpusmill's", origin == _OURS, str(origin) if origin == _OURS else wrong


def _requirements() -> list[Check]:
    """The versions of what corpusmill needs, against the ranges it states; an extra may be absent, not half there."""
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:  # the base install, which needs pyarrow and numpy alone
        return [_absent(name) or (name, None, str(_version(name))) for name in ("pyarrow", "numpy")]
    where, stated = _stated()
    found: list[Check] = [("installation", None if stated else False, where)]
    missing: dict[str, list[str]] = {}
    for extra, line in stated:
        requirement = Requirement(line)
        if extra == "dev" or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        missing.setdefault(extra, [])
        if (version := _version(requirement.name)) is None:
            missing[extra].append(requirement.name)
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        detail = version if fits else f"{version}, but {requirement.specifier} is needed"
        if (requirement.name, fits, detail) not in found:
            found.append((requirement.name, fits, detail))
    found += [check for name in missing.pop("", []) if (check := _absent(name))]
    for extra, names in missing.items():
        command = f"in a clone of corpusmill: pip install '.[{extra}]'"
        found.append((f"extra [{extra}]", None, f"without {', '.join(names)}; {command}" if names else "complete"))
    return found


def _stated() -> tuple[str, list[tuple[str, str]]]:
    """How corpusmill is here, and what it needs: the extra (or "") and the text of each requirement.

    An installation states them; for a clone that is run without one, its pyproject.toml does.
    """
    try:
        lines = importlib.metadata.requires("corpusmill") or []
    except importlib.metadata.PackageNotFoundError:
        return _stated_by(_OURS / "pyproject.toml")
    extras = ((re.findall(r"""extra == ['"](\w+)['"]""", line) or [""])[0] for line in lines)
    return f"version {importlib.metadata.version('corpusmill')}", list(zip(extras, lines, strict=True))


def _stated_by(file: Path) -> tuple[str, list[tuple[str, str]]]:
    try:
        toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
        project = toml.loads(file.read_text(encoding="utf-8"))["project"]
    except (ModuleNotFoundError, FileNotFoundError) as error:
        return f"not installed, and what it needs is not stated ({error}): {_INSTALL}", []
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    return f"not installed; a clone: {_INSTALL}", [(extra, line) for extra, lines in extras.items() for line in lines]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _absent(name: str) -> Check | None:
    """That what every part of corpusmill needs is not there."""
    return (name, False, f"absent; {_INSTALL}") if _version(name) is None else None


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
