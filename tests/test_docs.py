"""What the documents say is there, is there."""

import importlib
import re

import pytest

from tests.shared import ROOT

README = (ROOT / "README.md").read_text()
DOCS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize(("module", "names"), re.findall(r"^from (\S+) import ([\w, ]+)", README, re.M))
def test_the_public_names_of_the_readme_exist_and_are_documented(module, names):
    for name in names.split(","):
        assert getattr(importlib.import_module(module), name.strip()).__doc__


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "examples/README.md", *DOCS])
def test_links_lead_somewhere(document):
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text):
        assert (ROOT / document).parent.joinpath(target).exists(), target


def test_the_make_targets_of_the_documents_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    used = {t for d in ("README.md", "CONTRIBUTING.md") for t in re.findall(r"make ([\w-]+)", (ROOT / d).read_text())}
    assert used - {"a"} <= targets


def test_the_modules_of_the_map_exist():
    folders = [folder for folder in ROOT.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    there = {path.name for folder in folders for path in folder.rglob("*.py")}
    assert set(re.findall(r"\b([a-z_]+\.py)\b", (ROOT / "ARCHITECTURE.md").read_text())) <= there


def test_the_readme_and_the_page_on_clusters_have_one_recipe():
    recipes = re.findall(r"(?:^    .*\n)+", README, re.M)
    (recipe,) = [block for block in recipes if "--runner" in block]
    assert recipe in (ROOT / "docs/cluster.md").read_text()


def test_what_is_to_be_installed_is_installed_from_a_clone():
    """The package is on no index: `pip install 'corpusmill[train]'` would find nothing, or a stranger's."""
    folders = ("pipeline", "train", "tokenizer", "docs", "benchmarks")
    files = [path for folder in folders for kind in ("py", "md", "html") for path in (ROOT / folder).rglob(f"*.{kind}")]
    assert [str(path) for path in [ROOT / "README.md", *files] if "corpusmill[" in path.read_text()] == []


def test_nothing_is_left_to_fill_in():
    assert re.findall(r"@[A-Z]+@", README) == []
