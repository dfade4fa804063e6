"""Pages from elsewhere in the repository, with their links as they must be on the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

PAGES = {
    "plugins/README.md": "writing-a-method.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""Each file with the page that it becomes."""
MOVED = {**PAGES, "plugins/API.md": "reference/plugin-api.md"}
"""Where a link to a file leads on the site."""
LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?(?=\))")


def page(root: Path, path: str, repository: str) -> str:
    """A file of the repository as a page of the site."""
    text = (root / path).read_text(encoding="utf-8")
    return LINK.sub(lambda found: address(path, found[1], repository) + (found[2] or ""), text)


def address(path: str, link: str, repository: str) -> str:
    """Where a relative link of a file leads to: a page of the site, or else the file in the repository."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    if target in MOVED:
        return posixpath.relpath(MOVED[target], posixpath.dirname(PAGES[path]) or ".")
    if target.startswith("docs/") and target.endswith(".md"):
        return posixpath.relpath(target.removeprefix("docs/"), posixpath.dirname(PAGES[path]) or ".")
    return f"{repository}/blob/main/{target}"


def out_of_the_site(text: str, path: str, repository: str) -> str:
    """A page of the docs folder, with its links to files outside of that folder leading into the repository."""

    def lead(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), found[1]))
        return found[0] if target.startswith("docs/") else f"{repository}/blob/main/{target}{found[2] or ''}"

    return LINK.sub(lead, text)
