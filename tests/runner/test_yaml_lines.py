"""Every complaint about a YAML file names the file and the line."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.runner.spec import BenchmarkSpec, load_benchmark, shipped_benchmarks
from clsuite.runner.yaml_lines import load_yaml

GOOD = """\
# A comment.
name: mine
dataset: {name: digits}
scenario:
  kind: class_incremental
  tasks: 5

training:
  epochs: 2
  optimizer:
    name: adamw
    lr: 0.001
seeds: [0, 1]
methods:
  plain: finetune
  both: lwf+replay(capacity=10)
  own:
    plugins:
      - replay: {capacity: 5}
    training: {epochs: 3}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "b.yaml"


def load(path: Path, text: str) -> BenchmarkSpec:
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return load_yaml(path, BenchmarkSpec)


def test_a_good_file(path: Path) -> None:
    spec = load(path, GOOD)
    assert spec.name == "mine"
    assert spec.scenario.root.tasks == 5
    assert spec.training.optimizer.lr == 0.001
    assert spec.seeds == (0, 1)
    assert [use.name for use in spec.methods["both"].plugins] == ["lwf", "replay"]
    assert spec.methods["own"].training == {"epochs": 3}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("scenario:", "scenraio:", r"b\.yaml:4: unknown key 'scenraio'\. Did you mean 'scenario'\?"),
        ("  tasks: 5", "  taks: 5", r"b\.yaml:6: unknown key 'scenario\.taks'\. Did you mean 'tasks'\?"),
        ("    lr:", "    rl:", r"b\.yaml:12: unknown key 'training\.optimizer\.rl'\. "),
        ("    lr:", "    learning_rate_of_it:", r"b\.yaml:12: .*Known: name, lr, head_lr, weight_decay, momentum\."),
        ("  epochs: 2", "  epochs: two", r"b\.yaml:9: training\.epochs: .*integer.*, not 'two'"),
        ("  epochs: 2", "  epochs: 0", r"b\.yaml:9: training\.epochs: .*greater than or equal to 1, not 0"),
        ("    name: adamw", "    name: adamx", r"b\.yaml:11: training\.optimizer\.name: .*'sgd', .*, not 'adamx'"),
        ("seeds: [0, 1]", "seeds: [0, x]", r"b\.yaml:13: seeds\.1: .*integer.*, not 'x'"),
        ("seeds: [0, 1]", "seeds:\n  - 0\n  - x", r"b\.yaml:15: seeds\.1: "),
        ("seeds: [0, 1]", "seeds: [0, -1]", r"b\.yaml:13: seeds\.1: .*greater than or equal to 0, not -1"),
        ("seeds: [0, 1]", "seeds: []", r"b\.yaml:13: seeds: .*at least 1"),
        ("name: mine", "name: a b", r"b\.yaml:2: name: .*pattern.*, not 'a b'"),
        ("name: mine\n", "", r"b\.yaml:\d+: name: Field required$"),
        ("dataset: {name: digits}", "dataset: {path: x}", r"b\.yaml:3: dataset\.name: Field required$"),
        ("dataset: {name: digits}", "dataset: digits", r"b\.yaml:3: dataset: .*, not 'digits'"),
        ("      - replay: {capacity: 5}", "      - 7", r"b\.yaml:19: methods\.own\.plugins\.0: .*, not 7"),
        ("    training: {", "    trainign: {", r"b\.yaml:20: unknown key 'methods\.own\.trainign'\. .* 'training'\?"),
        ("seeds: [0, 1]", "seeds: [0]\nname: other", r"b\.yaml:14: the key 'name' stands in line 2 already"),
        ("  both: lwf", "  plain: lwf", r"b\.yaml:16: the key 'plain' stands in line 15 already"),
        ("  plain: finetune", "  plain: replay(", r"b\.yaml:15: methods\.plain: cannot read the method 'replay\('"),
        (
            "      - replay: {capacity: 5}",
            "      - replay(5)",
            r"b\.yaml:19: methods\.own\.plugins\.0: cannot read the method",
        ),
    ],
)
def test_mistakes_are_found_in_their_line(path: Path, old: str, new: str, message: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(UserError, match=message) as caught:
        load(path, GOOD.replace(old, new))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", r"b\.yaml' is not YAML: .*line \d"),
        ("a: b: c", r"is not YAML: .*line 1"),
        ("a: 1\n\tb: 2", r"is not YAML: .*line 2"),
        ("a: !!python/object/apply:os.getcwd []", r"is not YAML: .*line 1"),
        ("a: !own 3", r"is not YAML: .*line 1"),
        ("a: 2020-13-45", r"is not YAML: month must be in"),
        ("a: *nowhere", r"is not YAML: .*nowhere"),
        ("? [1, 2]\n: 3\n? {a: 1}\n: 4", r"is not YAML: .*unhashable key.*line 1"),
        ("a: 1\n---\nb: 2", r"is not YAML: .*line 2"),
    ],
)
def test_text_that_is_not_yaml(path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "- a\n- b\n", "3\n", "null\n"])
def test_yaml_that_is_no_mapping(path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"b\.yaml' must be a mapping"):
        load(path, text)


def test_bytes_that_are_no_text(path: Path) -> None:
    path.write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(UserError, match=r"b\.yaml' is not YAML"):
        load_yaml(path, BenchmarkSpec)


def test_a_missing_file(path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read '.*b\.yaml': No such file"):
        load_yaml(path, BenchmarkSpec)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        load_yaml(tmp_path, BenchmarkSpec)


def test_anchors_and_merge_keys_work(path: Path) -> None:
    text = """\
        name: mine
        dataset: {name: digits}
        methods:
          a: &base {plugins: [finetune], training: {epochs: 2}}
          b: {<<: *base, plugins: [ncm]}
    """
    methods = load(path, text).methods
    assert methods["b"].training == {"epochs": 2}
    assert methods["b"].plugins[0].name == "ncm"


def test_shipped_benchmarks_are_found_by_name() -> None:
    assert "quickstart" in shipped_benchmarks()
    spec, path = load_benchmark("quickstart")
    assert spec.name == path.stem == "quickstart"


@pytest.mark.parametrize("name", sorted(shipped_benchmarks()))
def test_every_shipped_benchmark_is_good(name: str) -> None:
    spec, _ = load_benchmark(name)
    assert spec.name == name
    assert spec.title
    assert spec.tier in ("quickstart", "compact", "standard")


def test_an_unknown_benchmark_gets_a_hint() -> None:
    with pytest.raises(UserError, match=r"unknown benchmark 'quikstart'\. Did you mean 'quickstart'\?"):
        load_benchmark("quikstart")


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_a_benchmark_of_ones_own_by_its_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"own{suffix}"
    path.write_text(GOOD)
    spec: Any = load_benchmark(str(path))
    assert spec[0].name == "mine"
    assert spec[1] == path


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("{kind: blurry, length: 3}", r"unknown key 'scenario\.length'\. Known: .*disjoint"),
        ("{kind: recurring, tasks: 3, lenght: 4}", r"scenario\.length: Field required|unknown key 'scenario\.lenght'"),
        ("{kind: blurry, disjoint: 2}", r"scenario\.disjoint: .*less than or equal to 1, not 2"),
        ("{kind: blury}", r"scenario: unknown kind of scenario 'blury'\. Did you mean 'blurry'\?"),
    ],
)
def test_the_parameters_of_a_kind_of_stream(shape: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(f"name: b\ndataset: {{name: digits}}\nscenario: {shape}\nmethods: {{ncm: ncm}}\n")
    with pytest.raises(UserError, match=rf"b\.yaml:3: {message}"):
        load_benchmark(str(path))
