"""How wikitext is rendered: apart from the renderer, which only its worker process loads."""

from __future__ import annotations

from typing import NamedTuple


class Options(NamedTuple):
    """How wikitext is rendered.

    ``math``: keep formulas, as LaTeX between dollar signs. ``tables``: keep tables, a line each row. ``drop_sections``:
    leave out sections of references, links and reading lists, by the built-in headings of the wiki's language, and
    ``sections``: by these headings too. ``variant``: which side of ``-{...}-`` to take where a wiki is written in
    several (``zh-hans``, ``zh-tw``, ``sr-ec``...); "" takes the first. ``templates``: rules beyond the built-in ones,
    as pairs of a name and a rule of ``wikitext_templates``.
    """

    math: bool = True
    tables: bool = False
    drop_sections: bool = False
    sections: tuple[str, ...] = ()
    variant: str = ""
    templates: tuple[tuple[str, str], ...] = ()


DEFAULTS = Options()
