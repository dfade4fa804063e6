"""The commands: their arguments and examples. What they need is imported inside them, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser, Namespace

from clsuite.errors import UserError

Things = Literal["plugins", "benchmarks", "datasets", "scenarios", "backbones", "augmentations"]
PlotKind = Literal["curve", "matrix", "forgetting", "probes"]
TableFormat = Literal["text", "csv", "markdown", "latex"]
Precision = Literal["auto", "32", "bf16", "16"]


@dataclass(frozen=True)
class Command:
    """A command: its one-line summary, examples, arguments, and what it does (it returns the exit status)."""

    summary: str
    examples: tuple[str, ...]
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


def _bench_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "benchmark",
        type=str,
        help="name of a benchmark (see `clsuite list benchmarks`), a YAML file, "
        "or a Python file whose make_benchmark(seed) gives an Avalanche benchmark",
    )
    add(
        "--methods",
        type=str,
        help="methods in place of the benchmark's: its names or plugins (a name, ./file.py or package.module:Class), "
        "joined by '+', comma-separated; a list as an argument is a grid, a list that is meant has double brackets",
    )
    add("--seeds", type=str, help="seeds in place of the benchmark's, comma-separated")
    add("--out", type=str, default="runs", help="folder for records, tables and plots")
    add("--data-root", type=str, help="folder in which data sets and weights are looked for")
    add("--device", type=str, default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--precision", type=Precision, help="auto is bf16 where the hardware has it natively, else 32")
    add("--epochs", type=int, help="epochs per task in place of the benchmark's")
    add("--limit-tasks", type=int, help="learn only the first tasks of the stream")
    add("--eval-every", type=int, help="evaluate within tasks too, after each so many steps, on a part of the tests")
    add("--jobs", type=int, help="runs at a time; by default as many as the cores carry")
    add("--timeout", type=float, help="seconds after which a run is ended")
    add("--save-model", action="store_true", help="keep each trained model beside its record")
    add("--dry-run", action="store_true", help="only list the runs and which are done")
    add("--force", action="store_true", help="do finished runs again")


def _bench(given: Namespace) -> int:
    from clsuite.cli.bench import BenchCall, run_bench

    overrides: dict[str, Any] = {"precision": given.precision, "epochs": given.epochs}
    return run_bench(
        BenchCall(
            benchmark=given.benchmark,
            methods=[given.methods] if given.methods else [],
            seeds=_numbers(given.seeds),
            out=Path(given.out),
            data_root=Path(given.data_root) if given.data_root else None,
            device=given.device,
            training={key: value for key, value in overrides.items() if value is not None},
            limit_tasks=given.limit_tasks,
            jobs=given.jobs,
            timeout=given.timeout,
            save_model=given.save_model,
            dry_run=given.dry_run,
            force=given.force,
            eval_every=given.eval_every,
        )
    )


def _numbers(text: str | None) -> list[int]:
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise UserError(f"--seeds is '{text}', but must be whole numbers separated by commas, such as 0,1,2") from error


def _list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("what", type=Things, help="what to list")
    parser.add_argument("--data-root", type=str, help="for datasets: say which of them are there, and what is missing")


def _list(given: Namespace) -> int:
    from clsuite.cli.listing import print_listing

    print_listing(given.what, Path(given.data_root) if given.data_root else None)
    return 0


def _show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("record", type=str, help="path of the record")


def _show(given: Namespace) -> int:
    from clsuite.cli.show import print_record

    print_record(Path(given.record))
    return 0


def _compare_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("first", type=str, help="a record, or a folder of one method's runs; with --runs the name of a method")
    add("second", type=str, help="likewise")
    add("--runs", type=str, help="folder of a benchmark's runs in which the two methods are looked for")
    add("--seeds", type=str, help="only these seeds, comma-separated")


def _compare(given: Namespace) -> int:
    from clsuite.cli.compare import print_comparison

    print_comparison(given.first, given.second, Path(given.runs) if given.runs else None, _numbers(given.seeds))
    return 0


def _places_argument(parser: ArgumentParser) -> None:
    parser.add_argument("records", type=str, nargs="+", help="records, or folders with records anywhere below")


def _plot_arguments(parser: ArgumentParser) -> None:
    _places_argument(parser)
    parser.add_argument("--kind", type=PlotKind, help="by default matrix for one record and curve for several")
    parser.add_argument("-o", "--out", type=str, help="file to write, .svg, .png or .pdf; by default KIND.svg")


def _plot(given: Namespace) -> int:
    from clsuite.cli.export import make_plot

    make_plot([Path(place) for place in given.records], given.kind, Path(given.out) if given.out else None)
    return 0


def _table_arguments(parser: ArgumentParser) -> None:
    _places_argument(parser)
    parser.add_argument("--format", type=TableFormat, default="text", help="text, csv, markdown or latex (booktabs)")
    parser.add_argument("--columns", type=str, help="figures to show, comma-separated, as a summary.csv names them")
    parser.add_argument("-o", "--out", type=str, help="file to write; by default it is printed")


def _table(given: Namespace) -> int:
    from clsuite.cli.export import make_table

    columns = [name.strip() for name in (given.columns or "").split(",") if name.strip()]
    places = [Path(place) for place in given.records]
    make_table(places, given.format, columns, Path(given.out) if given.out else None)
    return 0


def _pretrain_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", type=str, help="name of a recipe that comes with clsuite, or a YAML file")
    parser.add_argument("--data-root", type=str, help="folder of the drawings and of the teacher's weights")
    parser.add_argument("--out", type=str, default="pretrained", help="folder for the weights and the card")


def _pretrain(given: Namespace) -> int:
    from clsuite.cli.pretrain import run_pretrain

    run_pretrain(given.recipe, Path(given.data_root) if given.data_root else None, Path(given.out))
    return 0


COMMANDS: dict[str, Command] = {
    "bench": Command(
        "Run a benchmark and show its table; finished runs are taken from their records.",
        (
            "clsuite bench quickstart",
            'clsuite bench quickstart --methods "ncm,lwf+replay(capacity=50)" --seeds 0,1',
            'clsuite bench quickstart --methods "./my_method.py(alpha=[0.1,0.3])+replay"',
            "clsuite bench my.yaml --data-root data --out runs --dry-run",
            "clsuite bench quickstart --limit-tasks 2 --epochs 1 --methods finetune --save-model",
        ),
        _bench_arguments,
        _bench,
    ),
    "list": Command(
        "List plugins, benchmarks, data sets, scenarios, backbones or augmentations.",
        ("clsuite list plugins", "clsuite list benchmarks", "clsuite list datasets --data-root data"),
        _list_arguments,
        _list,
    ),
    "show": Command(
        "Print a record: configuration, accuracy matrix, metrics and cost.",
        ("clsuite show runs/quickstart/replay/seed0-0123456789ab.json",),
        _show_arguments,
        _show,
    ),
    "compare": Command(
        "Compare two methods seed by seed: differences with intervals, an exact test, and a verdict in words.",
        (
            "clsuite compare runs/quickstart/replay runs/quickstart/finetune",
            "clsuite compare replay finetune --runs runs/quickstart --seeds 0,1",
        ),
        _compare_arguments,
        _compare,
    ),
    "plot": Command(
        "Plot records: accuracy or forgetting over the tasks, accuracy matrices, probes.",
        (
            "clsuite plot runs/quickstart -o accuracy.pdf",
            "clsuite plot runs/quickstart/replay runs/quickstart/ncm --kind matrix -o matrices.png",
        ),
        _plot_arguments,
        _plot,
    ),
    "table": Command(
        "Tables of records for the terminal, CSV, Markdown or LaTeX.",
        (
            "clsuite table runs/quickstart --format latex -o table.tex",
            "clsuite table runs --format csv --columns final_accuracy_macro,stored_bytes",
        ),
        _table_arguments,
        _table,
    ),
    "pretrain": Command(
        "Pre-train a small backbone by a recipe; writes its weights and its card.",
        ("clsuite pretrain omniglot_vit --data-root data", "clsuite pretrain my_recipe.yaml --out pretrained"),
        _pretrain_arguments,
        _pretrain,
    ),
}
