"""Notebooks as pages: their text, code and outputs, in the looks of all other pages.

nbconvert would write Markdown too, but with outputs as indented blocks, and finds its templates only where it was
installed for the Python that runs.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

OPEN = "[This notebook](REPOSITORY/blob/main/docs/tutorials/{name}) is executed by the tests."
HIDDEN = "hidden"
"""The tag of cells that say nothing to readers."""
IMAGES = {"image/png": "png", "image/svg+xml": "svg"}


@dataclass
class _Page:
    """A notebook on its way to a page.

    Attributes:
        stem: Its name, by which its images begin.
        images: The images by their file names.
    """

    stem: str
    images: dict[str, bytes] = field(default_factory=dict)

    def parts(self, cells: list[Any]) -> Iterator[str]:
        """The parts of the page, one for each text, each block of code and each output."""
        for cell in cells:
            if HIDDEN in cell.metadata.get("tags", []):
                continue
            if cell.cell_type == "markdown":
                yield cell.source
            else:
                magic = cell.source.partition("\n")[0]
                language = magic.rpartition(".")[2] if magic.startswith("%%writefile") else "python"
                yield fence(cell.source, {"sh": "bash", "py": "python"}.get(language, language))
                yield from (shown for output in cell.outputs if (shown := self._output(output)))

    def _output(self, output: Any) -> str:
        if output.output_type == "stream":
            return fence(output.text.rstrip(), "text") if output.text.strip() else ""
        for kind, ending in IMAGES.items():
            if kind in output.data:
                return self._image(output.data[kind], ending)
        if "text/html" in output.data:
            return f'<div class="output">{output.data["text/html"]}</div>'
        return fence(output.data["text/plain"], "text")

    def _image(self, content: str, ending: str) -> str:
        name = f"{self.stem}-{len(self.images)}.{ending}"
        self.images[name] = b64decode(content) if ending == "png" else content.encode()
        return f"![Output of the cell above]({name})"


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its images by their file names."""
    made = _Page(path.stem)
    parts = list(made.parts(nbformat.read(path, as_version=4).cells))
    return "\n\n".join([*parts, OPEN.format(name=path.name)]) + "\n", made.images


def fence(text: str, language: str) -> str:
    """A block of code."""
    return f"```{language}\n{text}\n```"
