"""The names that papers use for methods, from the names that commands use and from the papers of their plugins."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

UNNAMED = {
    "adapter": "Adapter",
    "adaptformer": "AdaptFormer",
    "alignment": "Alignment",
    "coma": "CoMA",
    "der": "DER",
    "ewc": "EWC",
    "finetune": "Finetune",
    "joint": "Joint",
    "kd": "KD",
    "lda": "LDA",
    "linear_probe": "Linear probe",
    "momentum": "Momentum",
    "prompt": "Prompt",
    "replay": "Replay",
}
"""Names that no plugin's paper has in brackets, or that papers use for another method than that of the paper."""
VARIANTS = {"lora": "LoRA", "ssf": "SSF", "vpt-deep": "VPT-Deep"}
"""How papers write what is in brackets after a name."""


def title_of(method: str, papers: Mapping[str, Sequence[str]]) -> str:
    """The title of a method, such as ``Replay + FPF`` for ``replay + fpf``.

    The title of each part is the name in the brackets of its paper, such as ``LAE`` in ``Gao, ICCV 2023 (LAE)``, if it
    is spelled like the part, or if it is the only name of the plugin that is called like the part. Parts without such a
    name keep their own.

    Args:
        method: The name of the method in tables and commands.
        papers: The papers of each of its plugins, as in their traits, by the plugin's name.
    """
    names = {plugin: [name for paper in known for name in _in_brackets(paper)] for plugin, known in papers.items()}
    return " + ".join(_part(part, names) for part in method.split(" + "))


def told_apart(titles: Mapping[str, str]) -> dict[str, str]:
    """Titles of methods that stand together: of those with one title, each has its own name in brackets behind it."""
    times = Counter(title.casefold() for title in titles.values())
    return {method: f"{title} ({method})" if times[title.casefold()] > 1 else title for method, title in titles.items()}


def _in_brackets(paper: str) -> list[str]:
    return re.findall(r"\(([^()]+)\)", paper)


def _part(part: str, names: Mapping[str, Sequence[str]]) -> str:
    base, variant, rest = re.fullmatch(r"([^( ]*)(?: \(([^()]*)\))?(.*)", part, re.DOTALL).groups()  # type: ignore[union-attr]
    bracket = "" if variant is None else f" ({VARIANTS.get(variant, variant)})"
    return f"{_name(base, names)}{bracket}{rest}"


def _name(base: str, names: Mapping[str, Sequence[str]]) -> str:
    """The title of a part without its variant."""
    if base in UNNAMED:
        return UNNAMED[base]
    alike = [name for known in names.values() for name in known if _letters(name) == _letters(base)]
    own = names.get(base, ())
    found = alike[0] if alike else own[0] if len(own) == 1 else base
    return found[:1].upper() + found[1:] if " " in found else found


def _letters(name: str) -> str:
    """A name without what papers and commands write differently."""
    return re.sub(r"[-_ ]", "", name.casefold())
