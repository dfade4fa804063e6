"""Pages that are made from the code and the board hold what these hold."""

from __future__ import annotations

import pytest

from clsuite.api.surface import PUBLIC
from clsuite.cli.commands import COMMANDS
from clsuite.learner.options import TrainingSpec
from clsuite.metrics import LAST, METRICS, mean_interval
from clsuite.plugin.catalog import catalog
from clsuite.probes.spec import HeadProbe
from clsuite.scenarios.spec import MODELS
from clsuite_docs import board, commands, fields, included, interface, method_index, methods, metrics, results
from clsuite_docs.board import PRIMARY, Benchmark, Row, benchmarks

REPOSITORY = "https://example.org/clsuite"


def test_every_field_of_the_benchmark_file_is_described() -> None:
    assert list(fields.undescribed()) == []


def test_every_model_has_a_section_with_all_its_fields() -> None:
    found = fields.models()
    assert {TrainingSpec, HeadProbe, *MODELS.values()} <= {*found}
    for model in found:
        text = fields.section(model)
        assert [
            name for name in model.model_fields if name not in ("kind", "root") and f"| `{name}` |" not in text
        ] == []


@pytest.mark.parametrize(
    "row",
    [
        "| `batch_size` | whole number (≥ 1) | `32` | Number of samples per step, without exemplars that plugins add.",
        "| `compile` | `true` or `false` | `false` |",
        "| `loss` | `global`, `local` | `global` |",
        "| `gradient_clip` | number (> 0) | none |",
        "| `head_init` | number (≥ 0) or `uniform` | none |",
        "| `optimizer` | [OptimizerSpec](#optimizerspec) | its defaults | The optimizer. |",
    ],
)
def test_a_field_has_type_limits_default_and_text(row: str) -> None:
    assert row in fields.section(TrainingSpec)


def test_links_between_models_lead_to_sections() -> None:
    text = fields.page()
    anchors = {model.__name__.lower() for model in fields.models()}
    assert all(f"{{ #{anchor} }}" in text for anchor in anchors)
    assert {part.split(")")[0] for part in text.split("](#")[1:]} <= anchors


@pytest.mark.parametrize("name", methods.names())
def test_a_method_has_its_paper_its_arguments_and_its_rows(name: str) -> None:
    source, text = catalog()[name].source, methods.page(name, REPOSITORY)
    assert source is not None
    assert source.summary in text
    assert [one.name for one in source.parameters if f"| `{one.name}` |" not in text] == []
    assert f"{REPOSITORY}/blob/main/plugins/" in text
    rows = [row for _, row in board.rows_of(name)]
    assert [row.method for row in rows if f"| {row.method} |" not in text] == []
    assert rows or "No board has a row of it." in text


def test_every_argument_of_every_method_is_described() -> None:
    missing = []
    for name in methods.names():
        source = catalog()[name].source
        assert source is not None
        about = methods.parse(methods.docstring(catalog()[name])).members
        missing += [f"{name}.{one.name}" for one in source.parameters if one.name not in about]
    assert missing == []


def test_a_type_that_a_method_imports_is_written_out() -> None:
    assert "| one of lora, adapter, prefix," in methods.page("lae", REPOSITORY)


@pytest.mark.slow
def test_all_methods_stand_in_the_index() -> None:
    index = method_index.page()
    assert [name for name in methods.names() if index.count(f"[`{name}`]({name}.md)") != 2] == []
    assert len(methods.names()) > 30


def test_the_index_has_memory_cost_and_the_figures_of_every_board() -> None:
    [row] = [line for line in method_index.costs().splitlines() if line.startswith("| [`lwf`]")]
    source = catalog()["lwf"].source
    assert source is not None
    assert f"(LwF)](https://arxiv.org/abs/1606.09282) | {methods.stores(source)} | " in row
    for one in benchmarks():
        known = one.row("lwf")
        assert known is None or known.text(one.headline) in row


def test_a_method_without_a_row_of_its_name_has_its_best_one() -> None:
    alone, better = row_of("lora", [0.5] * 3, plugins=("pet",)), row_of("pet + fpf", [0.9] * 3, plugins=("pet", "fpf"))
    toy = board_of(better, alone)
    assert method_index.figure(toy, "pet") == "50.0 ± 0.0 `lora`"
    assert method_index.figure(toy, "fpf") == "90.0 ± 0.0 `pet + fpf`"
    assert method_index.figure(toy, "ewc") == board.NONE
    assert method_index.figure(board_of(row_of("ewc", [0.5] * 3, "stale", ("ewc",))), "ewc") == "*50.0 ± 0.0*"


def test_every_metric_has_its_formula_and_whose_it_is() -> None:
    text = metrics.page()
    assert [name for name, one in METRICS.items() if f"`{one.formula}` — {one.source}" not in text] == []
    row = next(line for line in text.splitlines() if line.startswith("| [`forgetting_max_any_row`]"))
    assert row.split("|")[3:6] == ["  ", " yes ", " yes "]  # not Avalanche's, but Mammoth's and PILOT's


def test_every_public_name_has_its_place_once() -> None:
    text = interface.scripts() + interface.authors()
    assert [f"{module}.{name}" for module, names in PUBLIC.items() for name in names] == sorted(
        (line.removeprefix("::: ") for line in text.splitlines() if line.startswith(":::")),
        key=[f"{module}.{name}" for module, names in PUBLIC.items() for name in names].index,
    )


def test_every_command_has_its_help() -> None:
    text = commands.page()
    assert [name for name in COMMANDS if f"## clsuite {name}\n\n```text\nusage: clsuite" not in text] == []
    assert "--limit-tasks" in commands.section("bench")


def row_of(method: str, values: list[float], badge: str = "measured", plugins: tuple[str, ...] = ("replay",)) -> Row:
    figure = {"mean": sum(values) / len(values), "values": values}
    names = (LAST, PRIMARY, board.AVERAGE, board.FORGETTING, board.AWARE, "stored_bytes")
    return Row({
        "method": method, "title": method.upper(), "bound": None, "badge": badge, "seeds": [0, 1, 2],
        "figures": dict.fromkeys(names, figure),
        "rank": {"rank": 1, "low": 1, "high": 2}, "tags": {"gradient": True},
        "plugins": [{"name": name} for name in plugins],
    })  # fmt: skip


def board_of(*rows: Row) -> Benchmark:
    content = {"name": "toy", "title": "A toy", "tasks": 2, "backbone": "net", "seeds": [0, 1, 2], "headline": LAST}
    return Benchmark(content, rows)


def test_a_difference_is_paired_by_seed() -> None:
    first, second = row_of("replay + fpf", [0.5, 0.7, 0.9]), row_of("replay", [0.4, 0.6, 0.8])
    [row] = results.additions(board_of(first, second), "fpf")
    assert row == ("replay + fpf", "60.0 ± 49.7", "70.0 ± 49.7", "+10.0 ± 0.0", "the interval excludes zero")


def test_a_difference_within_its_interval_may_be_chance() -> None:
    first, second = row_of("replay + fpf", [0.5, 0.5, 0.9]), row_of("replay", [0.4, 0.6, 0.8])
    mean, half = mean_interval([0.1, -0.1, 0.1])
    [row] = results.additions(board_of(first, second), "fpf")
    assert row[3:] == (f"{100 * mean:+.1f} ± {100 * half:.1f}", "may be chance")


def test_stale_rows_are_told() -> None:
    assert "stale" not in results.section(board_of(row_of("replay", [0.5, 0.6, 0.7])))
    mixed = board_of(row_of("replay", [0.5, 0.6, 0.7]), row_of("der", [0.1, 0.2, 0.3], "stale"))
    assert "1 of its 2 rows are **stale**" in results.section(mixed)


def test_a_bound_is_not_the_best() -> None:
    bound, method = row_of("joint", [0.9] * 3, plugins=("joint",)), row_of("replay", [0.5] * 3)
    assert "The best that is not a bound is `replay` with 50.0 ± 0.0." in results.section(board_of(bound, method))


def test_every_board_is_told_with_its_first_rows() -> None:
    text = results.page(REPOSITORY)
    for one in benchmarks():
        assert f"\n## {one.name}\n" in text
        first = one.rows[0]
        assert f"| {first.content['title']} `{first.method}` | {first.text(LAST)} | {first.text(PRIMARY)} |" in text


@pytest.mark.parametrize(
    ("path", "link", "leads_to"),
    [
        ("plugins/README.md", "API.md", "reference/plugin-api.md"),
        ("CONTRIBUTING.md", "plugins/README.md", "writing-a-method.md"),
        ("CONTRIBUTING.md", "docs/security.md", "security.md"),
        ("CONTRIBUTING.md", "LICENSE", f"{REPOSITORY}/blob/main/LICENSE"),
    ],
)
def test_a_link_of_a_page_from_elsewhere_leads_on(path: str, link: str, leads_to: str) -> None:
    assert included.address(path, link, REPOSITORY) == leads_to


def test_a_link_out_of_the_docs_folder_leads_into_the_repository() -> None:
    text = "[a](../tests/x.py#y) [b](parity.md) [c](https://example.org/z)"
    led = f"[a]({REPOSITORY}/blob/main/tests/x.py#y) [b](parity.md) [c](https://example.org/z)"
    assert included.out_of_the_site(text, "docs/first.md", REPOSITORY) == led


def test_a_method_page_says_how_to_derive_from_it() -> None:
    text = methods.page("replay", REPOSITORY)
    assert "from clsuite_plugins.replay import Replay\n\n\nclass Mine(Replay): ...\n" in text
    assert "`transform_batch`" in text.split("## Deriving from it")[1].split("##")[0]
    assert "| whole number or null | `500` |" in text
