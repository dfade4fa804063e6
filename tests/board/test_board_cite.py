"""A table that a paper can cite: figures, marks, references and the paragraph."""

from __future__ import annotations

import csv as csv_module
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import bibtexparser
import pytest
from published_records import make_record

from clsuite.board.cite.formats import csv, latex, markdown
from clsuite.board.cite.protocol import cited_by, paragraph
from clsuite.board.cite.references import Reference, bibliography, of_backbone, of_data, of_method, references
from clsuite.board.cite.table import INTERVAL, TESTED, make_table
from clsuite.board.papers import PAPERS
from clsuite.board.status import _shipped, has_setting, named_method
from clsuite.cli.main import main
from clsuite.data.catalog import DATASETS
from clsuite.metrics import LAST
from clsuite.plugin.arguments import resolve_arguments
from clsuite.plugin.catalog import find_plugin
from clsuite.records import CountsEntry, PluginEntry, RunRecord, TuningEntry
from clsuite.report.compare import compare

ROOT = Path(__file__).parents[2]
BEST, GOOD, POOR = (8, 8, 7, 8, 7, 8), (8, 7, 7, 8, 7, 7), (5, 4, 4, 5, 4, 5)
"""Right answers of 8 after the last task on its part, by seed; all others are right."""


def entry(name: str, **given: Any) -> PluginEntry:
    info, source = find_plugin(name)
    arguments = resolve_arguments(name, source, given)
    return PluginEntry(name=name, args=arguments, source=source.sha256, distribution=info.distribution)


def record(method: str, plugin: str, seed: int, right: int, **changes: Any) -> RunRecord:
    counts = [[0, 0, 0], [8, 0, 0], [8, 8, 0], [8, 8, right]]
    config = {**make_record("x", 0).config, "training": {"epochs": 2, "is": method}}
    return make_record(
        method, seed, plugins=[entry(plugin)], config=config,
        counts=CountsEntry(class_incremental=counts, task_aware=counts, n=[8, 8, 8]), **changes,
    )  # fmt: skip


def records(seeds: int = 6) -> list[RunRecord]:
    made = {("ranpac", "ranpac"): BEST, ("lae (lora)", "lae"): GOOD, ("ewc", "ewc"): POOR, ("joint", "joint"): (8,) * 6}
    return [record(*name, seed, right[seed]) for name, right in made.items() for seed in range(seeds)]


@pytest.mark.slow
def test_best_second_and_marks_follow_from_the_paired_test() -> None:
    made = make_table(records(), [], [], [LAST])
    shown = [(row.title, row.bound, cell.place, cell.mark) for row in made.rows for cell in row.cells if cell]
    assert shown == [
        ("Joint", "upper", 0, ""), ("RanPAC", None, 1, ""), ("LAE (LoRA)", None, 2, ""), ("EWC", None, 0, TESTED),
    ]  # fmt: skip
    by_method = {name: [one for one in records() if one.method == name] for name in ("ranpac", "lae (lora)", "ewc")}
    ps = [compare(by_method["ranpac"], by_method[other]).metrics[1].p for other in ("lae (lora)", "ewc")]
    assert ps == [pytest.approx(0.5), 2 / 64]  # two of six differ, all in one direction; all six differ


def test_few_seeds_are_marked_by_the_interval_and_the_paragraph_says_so() -> None:
    made = make_table(records(3), [], [], [LAST])
    assert [row.cells[0].mark for row in made.rows if row.cells[0]] == ["", "", "", INTERVAL]
    assert "3 seeds cannot give p below 0.25 in the exact paired test" in paragraph(made)
    assert TESTED not in paragraph(made)


@pytest.mark.slow
def test_other_streams_are_not_paired() -> None:
    other = [
        one.model_copy(update={"scenario": one.scenario.model_copy(update={"fingerprint": "other"})})
        if one.method == "ewc" else one for one in records()
    ]  # fmt: skip
    made = make_table(other, [], [], [LAST])
    assert [row.cells[0].mark for row in made.rows if row.cells[0]] == [""] * 4


def test_rows_and_benchmarks_are_those_that_were_named_in_their_order() -> None:
    two = [*records(3), *(one.model_copy(update={"benchmark": "big"}) for one in records(3) if one.method == "ewc")]
    made = make_table(two, ["ewc", "RANPAC"], ["tiny", "big"], [])
    assert [row.method for row in made.rows] == ["ewc", "ranpac"]
    assert [(name, column.name) for name, column in made.columns] == [
        ("tiny", LAST), ("tiny", "average_incremental_accuracy_weighted"),
        ("big", LAST), ("big", "average_incremental_accuracy_weighted"),
    ]  # fmt: skip
    assert [cell is None for cell in made.rows[1].cells] == [False, False, True, True]
    assert latex(made).count("--") == 2


def test_formats_hold_the_same_figures() -> None:
    made = make_table(records(), [], [], [LAST])
    tex, text = latex(made), markdown(made)
    assert r"RanPAC~\cite{mcdonnell2023ranpac} & \textbf{98.6} {\scriptsize$\pm$ 2.3} \\" in tex
    assert r"LAE (LoRA)~\cite{gao2023lae} & \underline{" in tex
    assert r"$^{*}$ \\" in tex
    assert tex.index("Joint (upper bound)") < tex.index("\\midrule\nRanPAC")
    assert "| RanPAC [@mcdonnell2023ranpac] | **98.6** ± 2.3 |" in text
    lines = list(csv_module.DictReader(csv(made).splitlines()))
    assert [line["place"] for line in lines] == ["", "1", "2", ""]
    assert float(lines[1]["mean"]) == pytest.approx((24 * 6 - 2) / (24 * 6))
    assert lines[3] == {**lines[3], "method": "ewc", "mark": "*", "citations": "kirkpatrick2017ewc schwarz2018progress"}


def test_the_paragraph_states_protocol_orders_weights_splits_and_tuning() -> None:
    search = TuningEntry(
        metric=LAST, space="lr", sampler="grid", sampler_seed=0, tasks=2, validation=0.1, seed=0, chosen={"lr": 0.1},
        trials=[{"values": {"lr": value}, "score": 0.5, "gradient_samples": 500, "seconds": 1} for value in (0.1, 0.2)],
    )  # fmt: skip
    config = {
        **make_record("x", 0).config, "dataset": {"name": "cifar100", "train_per_class": 30},
        "backbone": {"name": "vit_tiny_patch16_224.augreg_in21k", "image_size": 64, "sha256": "ab" * 32},
        "scenario": {"kind": "class_incremental", "order": {"numpy": 1993}},
    }  # fmt: skip
    made = [make_record("ncm", seed, config=config, tuning=search if seed else None) for seed in (0, 1)]
    text = paragraph(make_table(made, [], [], []))
    for words in (
        "On tiny (data set cifar100) [@krizhevsky2009cifar], of which 30 training images of each class are used",
        "methods learn 3 tasks (class-incremental), evaluated without the task of a test image",
        "order drawn by NumPy's legacy generator with seed 1993; 2 seeds (0, 1)",
        "hashes f0 (seed 0), f1 (seed 1)",
        "[@dosovitskiy2021vit; @steiner2022augreg; @wightman2019timm], 64 px input, weights with sha256 abababababab.",
        "Hyperparameters were searched on validation parts for ncm (lr: 2 trials, 1 k gradient samples).",
        "last: Accuracy after the last task on all test images together",
    ):
        assert words in text
    keys = set(re.findall(r"@([a-z0-9]+)", text))
    assert keys <= {reference.key for reference in cited_by(make_table(made, [], [], []))}


def stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: RunRecord, penalty: float) -> str:
    """The paragraph of a record, and of one of finetune, of a shipped benchmark that searched a penalty of 8."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "name: tiny\nscenario: {kind: class_incremental, tasks: 4}\ndataset: {name: digits}\n"
        f"methods: {{ewc: {{ewc: {{penalty: {penalty}}}}}, finetune: finetune}}\n"
        "tuned: [{methods: [ewc], setting: ewc.penalty, values: [1, 8], how: 'seed 100, two tasks'}]\n"
    )
    monkeypatch.setattr("clsuite.runner.spec.shipped_benchmarks", lambda: {"tiny": path})
    for module in ("cite.protocol", "status"):
        monkeypatch.setattr(f"clsuite.board.{module}.shipped_benchmarks", lambda: {"tiny": path})
    named_method.cache_clear()
    _shipped.cache_clear()
    other = make_record("finetune", 0, plugins=[entry("finetune")])
    return paragraph(make_table([record, other], [], [], []))


def test_the_paragraph_says_what_the_benchmark_states_of_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = make_record("ewc", 0, plugins=[entry("ewc", penalty=8.0)])
    text = stated(tmp_path, monkeypatch, searched, 8.0)
    assert (
        "Hyperparameters were searched on validation parts, as the benchmark states, for ewc (ewc.penalty: 2 values; "
        "seed 100, two tasks). All others have the values of the benchmark, or their defaults."
    ) in text
    other_value = stated(tmp_path, monkeypatch, searched, 9.0)
    assert "No search for hyperparameters is recorded" in other_value
    unknown = searched.model_copy(update={"config": {}, "plugins": []})
    assert not has_setting(unknown, "ewc.temperature")  # neither has it


def test_the_paragraph_says_that_only_the_first_tasks_are_learned() -> None:
    config = make_record("x", 0).config
    for scenario, limit, said in (
        ({"kind": "class_incremental", "tasks": 5}, 3, "the first 3 of 5 tasks, with {} of {} classes ("),
        ({"kind": "class_incremental", "tasks": 3}, 3, "3 tasks ("),
        ({"kind": "class_incremental", "tasks": 5}, None, "3 tasks ("),
        ({"kind": "domain_incremental"}, 3, "the first 3 tasks ("),
        ({"kind": "recurring", "tasks": 5, "length": 20}, 3, "the first 3 tasks ("),
    ):
        made = make_record("ncm", 0, config={**config, "scenario": scenario, "limit_tasks": limit})
        classes = [f"c{number}" for number in range(11)]
        made = made.model_copy(update={"scenario": made.scenario.model_copy(update={"classes": classes})})
        text = paragraph(make_table([made], [], [], []))
        assert f"methods learn {said.format(3 + 2 + 2, 11)}" in text


def parsed(text: str) -> dict[str, dict[str, str]]:
    """Entries of a bibliography as a real parser reads them."""
    library = bibtexparser.parse_string(text)
    assert library.failed_blocks == []
    return {one.key: {field.key: field.value for field in one.fields} for one in library.entries}


def test_every_reference_is_an_entry_that_a_parser_reads() -> None:
    found = parsed(bibliography(references()))
    assert len(found) == len({reference.key for reference in references()}) == len(references())
    assert all(fields["author"] and fields["title"] and fields["year"].isdigit() for fields in found.values())
    assert {"booktitle", "journal", "howpublished", "url"} <= {name for fields in found.values() for name in fields}
    assert found["gao2023lae"]["url"] == PAPERS["Gao, ICCV 2023 (LAE)"]
    assert found["gao2023lae"]["eprint"] == "2303.10070"
    assert all(fields.keys() & {"booktitle", "journal", "howpublished"} for fields in found.values())


def test_keys_do_not_change() -> None:
    known = {reference.key for reference in references()}
    assert {"gao2023lae", "buzzega2020derpp", "mcdonnell2023ranpac", "zhang2023slca", "zhou2024aper", "li2017pacs",
            "krizhevsky2009cifar", "feifei2004caltech", "dosovitskiy2021vit", "clsuite"} <= known  # fmt: skip


def test_every_paper_data_set_and_shipped_backbone_has_its_reference() -> None:
    papers = [name for reference in references() for name in reference.papers]
    assert sorted(papers) == sorted(PAPERS)
    described = {name for reference in references() for name in reference.datasets}
    assert described >= DATASETS.keys() - {"image_folder", "sequence"}
    made = make_record("x", 0)
    for name, keys in {
        "omniglot_vit": ["lake2015omniglot", "dosovitskiy2021vit"],
        "vit_base_patch16_224.augreg_in21k": ["dosovitskiy2021vit", "steiner2022augreg", "wightman2019timm"],
        "open_clip:ViT-B-16/openai": ["dosovitskiy2021vit", "radford2021clip", "ilharco2021openclip"],
        "resnet10t": ["he2016resnet", "wightman2019timm"],
        "own:Net": [],
    }.items():
        config = {**made.config, "backbone": {"name": name}}
        assert [one.key for one in of_backbone(made.model_copy(update={"config": config}))] == keys
    parts = {"dataset": {"name": "sequence", "parts": [{"name": "mnist"}, {"name": "svhn"}]}}
    assert [one.key for one in of_data(made.model_copy(update={"config": parts}))] == [
        "lecun1998mnist",
        "netzer2011svhn",
    ]


def test_a_paper_that_is_not_known_has_an_entry_of_what_its_plugin_says(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_record("x", 0)
    monkeypatch.setattr("clsuite.board.cite.references.papers_of", lambda record: {"p": ["Dö & Co_, 2030 (My_Net)"]})
    [unknown] = of_method(made)
    assert parsed(unknown.bibtex)["dco2030mynet"] == {
        "author": r"Dö \& Co\_ and others", "title": r"My\_Net", "howpublished": r"Dö \& Co\_, 2030 (My\_Net)",
        "year": "2030",
    }  # fmt: skip
    assert isinstance(unknown, Reference)


def test_names_that_are_wrong_are_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        path
        for path in sorted((ROOT / "leaderboard/records/quickstart/ncm").glob("*.json"))
        if "rerun" not in path.name
    ]
    for option, value, said in (
        ("--methods", "ncn", "clsuite cite-table: unknown method 'ncn'. Did you mean 'ncm'?"),
        ("--benchmarks", "quickstar", "clsuite cite-table: unknown benchmark 'quickstar'. Did you mean 'quickstart'?"),
        ("--columns", "last", "clsuite cite-table: unknown column 'last'."),
        ("--out", str(tmp_path / "x.bib"), f"clsuite cite-table: -o is '{tmp_path}/x.bib', but the references are"),
    ):
        assert main(["cite-table", *map(str, runs), option, value]) == 2
        assert capsys.readouterr().err.startswith(said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("form", "suffixes"), [("latex", {".tex", ".bib"}), ("csv", {".tex", ".bib", ".txt"})])
def test_files_are_written_beside_each_other(
    tmp_path: Path, form: str, suffixes: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    board = ROOT / "leaderboard/records/quickstart"
    places = [str(board / "ncm"), str(board / "finetune")]
    assert main(["cite-table", *places, "--format", form, "-o", str(tmp_path / "table.tex")]) == 0
    assert {path.suffix for path in tmp_path.iterdir()} == suffixes
    assert {"zhou2024aper", "alpaydin1998digits", "clsuite"} <= parsed((tmp_path / "table.bib").read_text()).keys()
    assert capsys.readouterr().out.startswith("2 rows: ")
    assert main(["cite-table", *places, "--format", form]) == 0
    assert ("@misc{clsuite," in capsys.readouterr().out) == (form == "latex")


PAPER = r"""\documentclass{article}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs}
\begin{document}
\input{table}
\bibliographystyle{plain}
\bibliography{table}
\end{document}
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["README.md", "docs/how-to/cite.md", "clsuite/cli/commands/cite_table.py"])
def test_examples_of_the_published_boards_give_a_table(place: str, tmp_path: Path) -> None:
    """Rows come and go: an example, or its help, may not name one that no board has."""
    text = (ROOT / place).read_text("utf-8")
    examples = re.findall(r"clsuite (cite-table leaderboard [^\n#\"]*)", text)
    assert examples
    for example in examples:
        command, _, *words = shlex.split(example)
        assert main([command, str(ROOT / "leaderboard"), *words, "-o", str(tmp_path / "table.tex")]) == 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None and not os.environ.get("CI"), reason="pdflatex is not installed")
def test_latex_compiles_the_published_boards(tmp_path: Path) -> None:
    methods = "slca,ranpac (no phase 1),s-prompts,der++,first_session + ranpac,ewc,finetune"
    boards = ["--benchmarks", "caltech101,pacs", "--methods", methods]
    assert main(["cite-table", str(ROOT / "leaderboard"), *boards, "-o", str(tmp_path / "table.tex")]) == 0
    (tmp_path / "paper.tex").write_text(PAPER)
    for command in (["pdflatex"], ["bibtex"], ["pdflatex"], ["pdflatex"]):
        options = ["-interaction=nonstopmode", "-halt-on-error"] if command == ["pdflatex"] else []
        done = subprocess.run([*command, *options, "paper"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert "undefined" not in log
    assert "Overfull" not in log.split("[1]")[0]
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert "Warning" not in (tmp_path / "paper.blg").read_text()


def test_nothing_in_a_table_is_taken_for_latex() -> None:
    made = make_table([one.model_copy(update={"method": r"a\b_{$}%&~"}) for one in records(2)[:2]], [], [], [LAST])
    assert r"a\textbackslash{}b\_\{\$\}\%\&\textasciitilde{}" in latex(made)
