"""Every complaint about a YAML file names the file and the line."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from clsuite.config.yaml_models import load_yaml
from clsuite.errors import UserError
from clsuite.runner.spec import BenchmarkSpec, load_benchmark, shipped_benchmarks

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

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(30))
MERGED_BOMB = "a0: &a0 {x: 1}\n" + "".join(f"a{n + 1}: &a{n + 1} {{<<: [*a{n}, *a{n}]}}\n" for n in range(30))


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
        ("  epochs: 2", "  epochs: two", r"b\.yaml:9: training\.epochs is 'two', but must be a whole number$"),
        ("  epochs: 2", "  epochs: 0", r"b\.yaml:9: training\.epochs is 0, but must be at least 1$"),
        (
            "    name: adamw",
            "    name: adamx",
            r"b\.yaml:11: training\.optimizer\.name is 'adamx', but must be 'sgd', .*\. Did you mean 'adam'\?",
        ),
        ("name: mine", 'name: "\\ud800"', r"b\.yaml:2: not YAML: '\\ud800' holds '\\ud800', half of a character$"),
        ("name: mine", "name: mine\n'': x", r"b\.yaml:3: unknown key ''\. Known: name, title, "),
        ("  epochs: 2", "  epochs: 2\n  '': x", r"b\.yaml:10: unknown key 'training\.'\. Known: "),
        ("name: mine", "name: mine\n? [a, b]\n: x", r"b\.yaml:3: not YAML: a key is a list, but must be text$"),
        ("name: mine", "name: mine\n? {a: b}\n: x", r"b\.yaml:3: not YAML: a key is a mapping, but must be text$"),
        ("seeds: [0, 1]", "seeds: [0, x]", r"b\.yaml:13: seeds\.1 is 'x', but must be a whole number$"),
        ("seeds: [0, 1]", "seeds:\n  - 0\n  - x", r"b\.yaml:15: seeds\.1 is 'x'"),
        ("seeds: [0, 1]", "seeds: [0, -1]", r"b\.yaml:13: seeds\.1 is -1, but must be at least 0$"),
        ("seeds: [0, 1]", "seeds: []", r"b\.yaml:13: seeds is \[\], but must have at least 1 entries$"),
        ("name: mine", "name: a b", r"b\.yaml:2: name: a name may only have letters, digits, .*: 'a b' is not valid$"),
        ("name: mine\n", "", r"b\.yaml:\d+: name is missing$"),
        ("dataset: {name: digits}", "dataset: {path: x}", r"b\.yaml:3: dataset\.name is missing$"),
        (
            "dataset: {name: digits}",
            "dataset: digits",
            r"b\.yaml:3: dataset is 'digits', but must be a mapping, such as {name: \.\.\.}$",
        ),
        (
            "      - replay: {capacity: 5}",
            "      - 7",
            r"b\.yaml:19: methods\.own\.plugins\.0: a plugin is .*, not 7$",
        ),
        ("    training: {", "    trainign: {", r"b\.yaml:20: unknown key 'methods\.own\.trainign'\. .* 'training'\?"),
        ("seeds: [0, 1]", "seeds: [0]\nname: other", r"b\.yaml:14: duplicate key 'name' \(first on line 2\)"),
        ("  both: lwf", "  plain: lwf", r"b\.yaml:16: duplicate key 'plain' \(first on line 15\)"),
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
        ("a: [1, 2", r"b\.yaml:1: not YAML: "),
        ("a: b: c", r"b\.yaml:1: not YAML: mapping values"),
        ("a: 1\n\tb: 2", r"b\.yaml:2: not YAML: .*'\\t'"),
        (
            "a: !!python/object/apply:os.getcwd []",
            r"b\.yaml:1: not YAML: the tag '!!python/object/apply:os.getcwd'",
        ),
        ("x: 1\na: !own 3", r"b\.yaml:2: not YAML: the tag '!own' is not known here"),
        ("a: 2020-13-45", r"b\.yaml:1: not YAML: '2020-13-45' is no !!timestamp"),
        ("a: !!timestamp x", r"b\.yaml:1: not YAML: 'x' is no !!timestamp"),
        ("a: !!int ''", r"b\.yaml:1: not YAML: '' is no !!int"),
        ("a: !!float ''", r"b\.yaml:1: not YAML: '' is no !!float"),
        ("a: !!bool x", r"b\.yaml:1: not YAML: 'x' is no !!bool"),
        ("a: !!int [1]", r"b\.yaml:1: not YAML: expected a scalar node"),
        ("a: !!map x", r"b\.yaml:1: not YAML: expected a mapping node"),
        ("a: !!binary 'é'", r"b\.yaml:1: not YAML: failed to convert base64|b\.yaml:1: not YAML: .* is no !!binary"),
        ("a: *nowhere", r"b\.yaml:1: not YAML: found undefined alias 'nowhere'"),
        ("a: 1\nb: &x [*x]", r"b\.yaml:2: not YAML: '\*x' refers to itself"),
        ("a: &x {<<: *x}", r"b\.yaml:1: not YAML: '\*x' refers to itself"),
        ("a: &x {b: [{c: *x}]}", r"b\.yaml:1: not YAML: '\*x' refers to itself"),
        ("? [1, 2]\n: 3\n? {a: 1}\n: 4", r"b\.yaml:1: not YAML: a key is a list, but must be text"),
        ("a: 1\n---\nb: 2", r"b\.yaml:2: not YAML: "),
        ("a: 1\nb: \x01", r"b\.yaml:2: not YAML: the character '\\x01' is not allowed"),
        ("a: " + "[" * 5000, r"b\.yaml:1: not YAML: it is nested more than 50 levels deep"),
        ("a: " + "{a: " * 3000, r"b\.yaml:1: not YAML: it is nested more than 50 levels deep"),
        ("\n".join(" " * depth + "a:" for depth in range(600)), r"b\.yaml:\d+: not YAML: it is nested more than"),
        (BOMB, r"b\.yaml:\d+: not YAML: it has more than 50,000 values, aliases followed"),
        (MERGED_BOMB, r"b\.yaml:\d+: not YAML: it has more than 50,000 values, aliases followed"),
    ],
)
def test_text_that_is_not_yaml(path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "- a\n- b\n", "3\n", "null\n"])
def test_yaml_that_is_no_mapping(path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"b\.yaml' must be a mapping such as 'name: \.\.\.'"):
        load(path, text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: a\ntitle: caf\xe9\n", r"b\.yaml:2: not UTF-8 \(byte 18 of the file\): save it in UTF-8"),
        ("name: a".encode("utf-16"), r"b\.yaml:1: not UTF-8 \(byte 0 "),
        (bytes(range(256)) * 4, r"b\.yaml:\d+: not UTF-8"),
        (b"name: a\n" * 60_000, r"'.*b\.yaml' is not a benchmark or recipe: it has 480,000 bytes"),
    ],
)
def test_bytes_that_are_no_text(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
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
        ("{kind: recurring, tasks: 3, lenght: 4}", r"unknown key 'scenario\.lenght'"),
        ("{kind: blurry, disjoint: 2}", r"scenario\.disjoint is 2, but must be at most 1"),
        ("{kind: blury}", r"scenario: unknown kind of scenario 'blury'\. Did you mean 'blurry'\?"),
    ],
)
def test_the_parameters_of_a_kind_of_stream(shape: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(f"name: b\ndataset: {{name: digits}}\nscenario: {shape}\nmethods: {{ncm: ncm}}\n")
    with pytest.raises(UserError, match=rf"b\.yaml:3: {message}"):
        load_benchmark(str(path))


@pytest.mark.parametrize("text", ["1e-1", "1E-1", "1e+3", "-1e3", ".5e2", "1.e2", "+2e0"])
def test_numbers_with_an_exponent_are_numbers(path: Path, text: str) -> None:
    spec = load(path, GOOD.replace("capacity: 5", f"alpha: {text}").replace("lr: 0.001", "lr: 1e-3"))
    assert spec.methods["own"].plugins[0].args["alpha"] == float(text)
    assert spec.training.optimizer.lr == 0.001


def test_what_only_looks_like_a_number_stays_text(path: Path) -> None:
    spec = load(path, GOOD.replace("capacity: 5", "alpha: 1e, b: e5, c: '1e5', d: 0x1e5"))
    assert spec.methods["own"].plugins[0].args == {"alpha": "1e", "b": "e5", "c": "1e5", "d": 0x1E5}


def test_all_mistakes_are_told_at_once_each_with_its_line(path: Path) -> None:
    text = (
        GOOD.replace("scenario:", "scenaro:").replace("epochs: 2", "epochs: two").replace("methods:", "metods:")
        + "seeds: [0]\n"
    )
    with pytest.raises(UserError) as caught:
        load(path, text)
    lines = [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]
    assert lines == [
        "4: unknown key 'scenaro'. Did you mean 'scenario'?",
        "9: training.epochs is 'two', but must be a whole number",
        "14: unknown key 'metods'. Did you mean 'methods' or 'more_methods'?",
        "21: duplicate key 'seeds' (first on line 13)",
    ]


def test_what_is_missing_is_told_after_what_is_misspelled(path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(path, "title: x\nscenaro: {tasks: 2}\n")
    first, *others = str(caught.value).splitlines()
    assert first.endswith(":2: unknown key 'scenaro'. Did you mean 'scenario'?")
    assert [line.rpartition(": ")[2] for line in others] == ["methods is missing", "name is missing"]


def test_of_very_many_mistakes_the_first_are_told(path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(path, GOOD + "".join(f"key{number}: 1\n" for number in range(30)))
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "… and 20 more mistakes"


@pytest.mark.parametrize(
    ("key", "value"),
    [("1", "ncm"), ("yes", "ncm"), ("null", "ncm"), ("~", "ncm"), ("1.5", "ncm"), ("2020-01-01", "ncm")],
)
def test_keys_are_text(path: Path, key: str, value: str) -> None:
    with pytest.raises(UserError, match=r"b\.yaml:15: the key '.*' is not text: write it in quotation marks$"):
        load(path, GOOD.replace("  plain: finetune", f"  {key}: ncm"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds: [0, 1]", "seeds: 3", r"b\.yaml:13: seeds is 3, but must be a list, such as \[3\]$"),
        ("seeds: [0, 1]", "seeds: [true]", r"b\.yaml:13: seeds\.0 is true, but must be a whole number$"),
        ("seeds: [0, 1]", "seeds: [1.5]", r"b\.yaml:13: seeds\.0 is 1\.5, but must be a whole number$"),
        ("seeds: [0, 1]", f"seeds: [{10**30}]", r"b\.yaml:13: seeds\.0 is 10+, but must be at most"),
        ("seeds: [0, 1]", "limit_tasks: true", r"b\.yaml:13: limit_tasks is true, but must be a whole number$"),
        ("  epochs: 2", "  epochs: false", r"b\.yaml:9: training\.epochs is false, but must be a whole number$"),
        ("  epochs: 2", f"  epochs: {10**30}", r"b\.yaml:9: training\.epochs is 10+, but must be at most"),
        ("  epochs: 2", "  epochs: 2000000", r"b\.yaml:9: training\.epochs is 2000000, but must be at most 1000000$"),
        ("    lr: 0.001", "    lr: true", r"b\.yaml:12: training\.optimizer\.lr is true, but must be a number$"),
        ("    lr: 0.001", "    lr: [1]", r"b\.yaml:12: training\.optimizer\.lr is \[1\], but must be a number$"),
        ("    lr: 0.001", "    lr: .nan", r"b\.yaml:12: training\.optimizer\.lr is nan, but must be more than 0$"),
        ("  plain: finetune", "  plain:", r"b\.yaml:15: methods\.plain: it is empty: name its plugin, as replay"),
        ("  plain: finetune", "  plain: []", r"b\.yaml:15: methods\.plain: it is empty: name its plugin, as replay"),
        ("  plain: finetune", "  plain: {ncm: 3}", r"b\.yaml:15: .*the arguments of 'ncm' must be a mapping"),
        ("name: mine", "name: 2020-01-01", r"b\.yaml:2: name is 2020-01-01, but must be text: write it in quotation"),
        (
            "name: mine",
            f"name: {'x' * 300}",
            r"b\.yaml:2: name: a name may .* at most 100 characters, .*: 'x+…' is",
        ),
        ("name: mine", "name:", r"b\.yaml:2: name is empty, but must be text"),
    ],
)
def test_what_must_stand_there_is_said_in_plain_words(path: Path, old: str, new: str, message: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(UserError, match=message):
        load(path, GOOD.replace(old, new))


@pytest.mark.parametrize("text", [r'title: "\U00110000"', r'title: "\UFFFFFFFF"'])
def test_an_escape_for_no_character_is_told_with_its_line(path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r":1: not YAML: .*(range|large)") as caught:
        load(path, f"{text}\n")
    assert "\n" not in str(caught.value)


def test_a_number_of_thousands_of_digits_is_not_repeated_whole(path: Path) -> None:
    with pytest.raises(UserError, match="999…' is") as caught:
        load(path, f"seeds: [{'9' * 9000}]\n")
    assert len(str(caught.value)) < 500
