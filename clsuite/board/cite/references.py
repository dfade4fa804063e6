"""What a table cites: papers of methods, data sets and backbones, as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from clsuite.board.papers import ARXIV, PAPERS, linked
from clsuite.config.yaml_models import load_yaml
from clsuite.plugin.catalog import catalog
from clsuite.records import RunRecord
from clsuite.report.export import latex_text

OURS = "clsuite"
"""Key of the reference for clsuite itself."""
CVF, LNCS = "Conference on Computer Vision and Pattern Recognition", "European Conference on Computer Vision"
CONFERENCES = {
    "AAAI": "{AAAI} Conference on Artificial Intelligence",
    "AISTATS": "International Conference on Artificial Intelligence and Statistics",
    "CVPR": f"{{IEEE/CVF}} {CVF}",
    "CVPR-W": f"{{IEEE/CVF}} {CVF} Workshops",
    "CoRL": "Conference on Robot Learning",
    "ECCV": LNCS,
    "ICCV": "{IEEE/CVF} International Conference on Computer Vision",
    "ICCV-W": "{IEEE} International Conference on Computer Vision Workshops",
    "ICLR": "International Conference on Learning Representations",
    "ICML": "International Conference on Machine Learning",
    "ICVGIP": "Indian Conference on Computer Vision, Graphics and Image Processing",
    "NAACL Findings": "Findings of the Association for Computational Linguistics: {NAACL}",
    "NeurIPS": "Advances in Neural Information Processing Systems",
    "WACV": "{IEEE/CVF} Winter Conference on Applications of Computer Vision",
}
JOURNALS = {
    "IJCV": "International Journal of Computer Vision",
    "JSTARS": "{IEEE} Journal of Selected Topics in Applied Earth Observations and Remote Sensing",
    "Neural Networks": "Neural Networks",
    "PNAS": "Proceedings of the National Academy of Sciences",
    "Proceedings of the IEEE": "Proceedings of the {IEEE}",
    "Science": "Science",
    "TMLR": "Transactions on Machine Learning Research",
    "TPAMI": "{IEEE} Transactions on Pattern Analysis and Machine Intelligence",
}


class Reference(BaseModel):
    """A publication.

    Attributes:
        key: Its key in BibTeX, which never changes.
        author: Its authors; as the title, they are written in BibTeX.
        year: The year; 0 if it is not known.
        venue: A name of `CONFERENCES` or `JOURNALS`; empty if it was published elsewhere.
        published: Where it was published, if it has no venue.
        papers: The names of this paper in the traits of plugins.
        datasets: The data sets that it describes.
        backbones: Pattern of the beginning of the names of backbones that it describes; empty if it describes none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field(pattern=r"^[a-z0-9]+$")
    author: str
    title: str
    year: int = 0
    venue: str = ""
    published: str = ""
    url: str = ""
    papers: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    backbones: str = ""

    @property
    def address(self) -> str:
        """Where it can be read; empty if that is not known."""
        return self.url or next((PAPERS[name] for name in self.papers if name in PAPERS), "")

    @property
    def bibtex(self) -> str:
        """The entry in a bibliography."""
        address, preprint = self.address, self.address.removeprefix(ARXIV)
        if self.venue in CONFERENCES:
            kind, place = "inproceedings", {"booktitle": CONFERENCES[self.venue]}
        elif self.venue in JOURNALS:
            kind, place = "article", {"journal": JOURNALS[self.venue]}
        else:
            published = self.published or ("" if preprint == address else f"arXiv preprint arXiv:{preprint}")
            kind, place = "misc", {"howpublished": published} if published else {}
        fields = {"author": self.author, "title": self.title, **place}
        fields |= {"year": str(self.year)} if self.year else {}
        fields |= {"url": address} if address else {}
        fields |= {} if preprint == address else {"eprint": preprint, "archiveprefix": "arXiv"}
        return "\n".join([f"@{kind}{{{self.key},", *(f"  {name} = {{{text}}}," for name, text in fields.items()), "}"])


@cache
def references() -> tuple[Reference, ...]:
    """All references that are known, in the order of their file."""
    with resources.as_file(resources.files("clsuite.board.cite") / "references.yaml") as path:
        return tuple(load_yaml(Path(path), list[Reference]))


def of_method(record: RunRecord) -> list[Reference]:
    """The papers of a method: those that its plugins name, in their order."""
    return list(dict.fromkeys(_of_paper(name) for papers in papers_of(record).values() for name in papers))


def papers_of(record: RunRecord) -> dict[str, list[str]]:
    """The papers of each plugin of a method, as in their traits; none for a plugin that is not installed."""
    sources = {entry.name: info.source for entry in record.plugins if (info := catalog().get(entry.name))}
    return {name: [*linked(source.traits.paper)] for name, source in sources.items() if source}


def of_data(record: RunRecord) -> list[Reference]:
    """The data sets of a record: the one of its configuration, and those of which it is made."""
    dataset = record.config.get("dataset") or {}
    parts = [part.get("name") for part in dataset.get("parts") or () if isinstance(part, dict)]
    return [reference for reference in references() if {*reference.datasets} & {dataset.get("name"), *parts}]


def of_backbone(record: RunRecord) -> list[Reference]:
    """The backbone of a record: its architecture, its weights, and the library that has it."""
    name = (record.config.get("backbone") or {}).get("name") or ""
    return [reference for reference in references() if reference.backbones and re.match(reference.backbones, name)]


def bibliography(cited: Iterable[Reference]) -> str:
    """The entries of a bibliography, each once, ordered by their keys."""
    entries = {reference.key: reference.bibtex for reference in cited}
    return "\n\n".join(entries[key] for key in sorted(entries)) + "\n"


def _of_paper(name: str) -> Reference:
    known = next((reference for reference in references() if name in reference.papers), None)
    return known or _unknown(name)


def _unknown(paper: str) -> Reference:
    """A reference for a paper of which nothing is known but what the traits of a plugin of others say."""
    author = re.split(r"[,(]", paper)[0].strip() or paper
    year = re.search(r"\b(?:19|20)\d\d\b", paper)
    name = re.search(r"\(([^()]+)\)", paper)
    key = re.sub(r"[^a-z0-9]", "", f"{author}{year[0] if year else ''}{name[1] if name else ''}".lower()) or "unknown"
    title = latex_text(name[1] if name else paper)
    return Reference(
        key=key, author=f"{latex_text(author)} and others", title=title, year=int(year[0]) if year else 0,
        published=latex_text(paper), papers=(paper,),
    )  # fmt: skip
