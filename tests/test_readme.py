"""The README is short, its links work wherever it is shown, and its figures are the board's."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from clsuite.cli.main import main
from clsuite_docs.board import AVERAGE, AWARE, FORGETTING, PRIMARY, benchmarks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
LINKS = re.findall(r"\]\(([^)]+)\)", README)


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 110


def test_it_opens_with_the_two_commands_that_run_the_main_job_and_the_tests() -> None:
    block = README.split("```sh\n")[1].split("```")[0].splitlines()
    assert len(block) == 2
    assert block[0].endswith("clsuite bench quickstart")
    assert block[1].endswith("/pytest")


def test_every_link_is_absolute_and_of_the_project() -> None:
    raw = URLS["Repository"].replace("github.com", "raw.githubusercontent.com")
    assert len(LINKS) > 10
    assert [link for link in LINKS if not link.startswith((URLS["Repository"], URLS["Documentation"], raw))] == []


def test_links_into_the_repository_name_files_that_exist() -> None:
    into = [re.sub(r".*/main/", "", link) for link in LINKS if "/main/" in link]
    assert len(into) > 5
    assert [path for path in into if not (ROOT / path).exists()] == []


@pytest.mark.slow
def test_links_into_the_site_name_pages_that_exist() -> None:
    from hook import generated, of_notebooks

    made = {uri for uri, _ in [*generated(), *of_notebooks(ROOT / "docs")]}
    pages = [
        link.removeprefix(URLS["Documentation"]).strip("/") or "index"
        for link in LINKS
        if URLS["Documentation"] in link
    ]
    assert len(pages) > 4
    assert [page for page in pages if f"{page}.md" not in made and not (ROOT / "docs" / f"{page}.md").is_file()] == []


def test_the_figures_that_it_shows_are_the_boards() -> None:
    """The example's table is of seed 0; the board has the same runs, made on the same kind of machine."""
    rows = {row.method: row for row in benchmarks()[0].rows}
    shown = re.findall(r"^ (\w+) +([\d. ]+) 1$", README, re.MULTILINE)
    assert [name for name, _ in shown] == ["ncm", "replay", "finetune"]
    for name, figures in shown:
        names = (PRIMARY, "final_accuracy_weighted", AVERAGE, FORGETTING, "learning_accuracy", AWARE)
        assert figures.split() == [f"{100 * rows[name].values(metric)[0]:.1f}" for metric in names]


def test_the_wheels_smoke_test_runs_the_example_that_is_shown() -> None:
    section = README.split("## An example\n")[1].split("\n## ")[0]
    command = "source .github/smoke.sh; example README.md"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == section.split("```sh\n")[1].split("```")[0]
    assert done.stdout.startswith("clsuite bench quickstart")


@pytest.mark.parametrize(("words", "offered"), [("clsuite ben", "bench"), ("clsuite bench quick", "quickstart")])
def test_the_wheels_smoke_test_completes_words(
    words: str, offered: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--print-completion", "bash"]) == 0
    (tmp_path / "completion.bash").write_text(capsys.readouterr().out)
    command = f"source {ROOT}/.github/smoke.sh; completed completion.bash {words}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.splitlines() == [offered], done
