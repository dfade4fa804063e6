"""Methods as people write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.runner.methods import MethodSpec, PluginUse, parse_method, parse_plugin, split_outside, write_method
from clsuite.runner.options import RunOptions
from clsuite.runner.resolve import outline
from clsuite.runner.spec import BenchmarkSpec, load_benchmark


def plugins(value: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(use.name, use.args) for use in MethodSpec.model_validate(value).plugins]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("replay", [("replay", {})]),
        (" replay ", [("replay", {})]),
        ("my-plugin_2.b", [("my-plugin_2.b", {})]),
        ("replay()", [("replay", {})]),
        ("replay(capacity=100)", [("replay", {"capacity": 100})]),
        ("replay(capacity=-1, buffer='herding')", [("replay", {"capacity": -1, "buffer": "herding"})]),
        ("pet(kind=lora, blocks=[all, 3])", [("pet", {"kind": "lora", "blocks": ["all", 3]})]),
        (
            "x(a=None, b=True, c=[1, 2], d={'k': (1.5,)})",
            [("x", {"a": None, "b": True, "c": [1, 2], "d": {"k": (1.5,)}})],
        ),
        ("x(a=null, b=true, c=[false])", [("x", {"a": None, "b": True, "c": [False]})]),
        ("./my.py(a=1)", [("./my.py", {"a": 1})]),
        ("a.b:C(x=[1, 2])+./d/e.py:F", [("a.b:C", {"x": [1, 2]}), ("./d/e.py:F", {})]),
        ("lwf+replay", [("lwf", {}), ("replay", {})]),
        ("lwf + replay(capacity=5) + ewc", [("lwf", {}), ("replay", {"capacity": 5}), ("ewc", {})]),
        ("x(a='b+c')+y", [("x", {"a": "b+c"}), ("y", {})]),
        ("fpf(modules=norm+head, steps=5)+y", [("fpf", {"modules": "norm+head", "steps": 5}), ("y", {})]),
        ({"replay": {"capacity": 100}}, [("replay", {"capacity": 100})]),
        ({"replay": None}, [("replay", {})]),
        ({"name": "replay", "args": {"capacity": 3}}, [("replay", {"capacity": 3})]),
        (
            ["lwf", "replay(capacity=3)", {"ewc": {"gamma": 0.5}}],
            [("lwf", {}), ("replay", {"capacity": 3}), ("ewc", {"gamma": 0.5})],
        ),
        ({"plugins": ["lwf", {"replay": {}}]}, [("lwf", {}), ("replay", {})]),
    ],
)
def test_forms(written: Any, expected: list[tuple[str, dict[str, Any]]]) -> None:
    assert plugins(written) == expected


def test_a_method_may_change_the_training() -> None:
    method = MethodSpec.model_validate({"plugins": ["replay"], "training": {"epochs": 5, "optimizer": {"lr": 0.1}}})
    assert method.training == {"epochs": 5, "optimizer": {"lr": 0.1}}
    assert MethodSpec.model_validate("replay").training == {}


def test_the_order_is_kept() -> None:
    assert [name for name, _ in plugins("c+a+b")] == ["c", "a", "b"]


@pytest.mark.parametrize("form", ["replay(capacity=3)", {"replay": {"capacity": 3}}, ["replay(capacity=3)"]])
def test_all_forms_give_the_same_method(form: Any) -> None:
    assert MethodSpec.model_validate(form) == MethodSpec.model_validate({"plugins": [{"replay": {"capacity": 3}}]})


@pytest.mark.parametrize(
    "text",
    [
        "replay(100)",
        "replay(capacity=100",
        "replay capacity",
        "replay(capacity=2*3)",
        "replay(capacity=open('x'))",
        "replay(**more)",
        "a b(c=1)",
        "replay(capacity=)",
        "3 + 4",
        "",
    ],
)
def test_what_cannot_be_read_is_quoted_with_the_form_that_can(text: str) -> None:
    with pytest.raises(UserError, match=r"cannot read the method '.*': write NAME or NAME\(argument=value\)") as caught:
        parse_plugin(text)
    assert f"'{text}'" in str(caught.value)


@pytest.mark.parametrize("text", ["replay", "lwf + replay(capacity=3)", "x(a='b+c')"])
def test_the_command_line_and_yaml_read_alike(text: str) -> None:
    assert parse_method(text) == MethodSpec.model_validate(text)


@pytest.mark.parametrize("text", ["", "+", " + ", "lwf+replay(", "x(a={[]: 1})"])
def test_the_command_line_gets_one_line(text: str) -> None:
    with pytest.raises(UserError, match="cannot read the method"):
        parse_method(text)


@pytest.mark.parametrize("text", ["", "+", " + "])
def test_a_method_without_plugins_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        MethodSpec.model_validate(text)


@pytest.mark.parametrize(
    "value",
    [
        {"plugins": []},
        {"plugins": ["replay"], "trainign": {}},
        {"plugins": ["replay"], "training": 3},
        {"plugins": [{"name": "replay", "arguments": {}}]},
        [3],
        3,
        [{"replay": 3}],
    ],
)
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(ValidationError, match="MethodSpec"):
        MethodSpec.model_validate(value)


def test_a_use_cannot_be_changed() -> None:
    use = PluginUse(name="replay")
    with pytest.raises(ValidationError, match="frozen"):
        use.name = "lwf"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "separator", "parts"),
    [
        ("a+b", "+", ["a", "b"]),
        ("a(x=[1, 2], y=(3, 4)), b", ",", ["a(x=[1, 2], y=(3, 4))", "b"]),
        ("a({1+1})+b", "+", ["a({1+1})", "b"]),
        ("a,,b,", ",", ["a", "b"]),
        ("'./a+b.py'(x=1)+c", "+", ["'./a+b.py'(x=1)", "c"]),
        ("a(x='(')+b", "+", ["a(x='(')", "b"]),
        ("a(x='it\\'s')+b", "+", ["a(x='it\\'s')", "b"]),
        ("", ",", []),
    ],
)
def test_splitting_outside_brackets(text: str, separator: str, parts: list[str]) -> None:
    assert split_outside(text, separator) == parts


@pytest.mark.parametrize("path", ["./a+b.py", "./my methods/a,b.py", "./a(1).py"])
@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_path_in_quotation_marks_is_one_plugin(path: str, quote: str) -> None:
    method = parse_method(f"{quote}{path}{quote}(alpha=0.1)+replay")
    assert [use.name for use in method.plugins] == [path, "replay"]
    assert method.plugins[0].args == {"alpha": 0.1}
    assert parse_method(write_method(method)).plugins[0].name == path.split("/")[-1]


@pytest.mark.parametrize("text", ["./a+b.py", "./a,b.py"])
def test_a_path_that_falls_apart_says_how_to_write_it(text: str) -> None:
    spec, path = load_benchmark("quickstart")
    with pytest.raises(UserError, match=r"'\./a' is not a plugin: .* must be in quotation marks"):
        outline(spec, RunOptions(out=path, methods=[text]))


MORE = {"name": "mine", "dataset": {"name": "digits"}, "seeds": [0], "methods": {"a": "ncm"}}


def named(options: list[str]) -> list[str]:
    spec = BenchmarkSpec.model_validate({**MORE, "more_methods": {"b (local)": "replay"}})
    return [name for name, _ in outline(spec, RunOptions(out=Path(), methods=options))]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["a"]),
        (["all"], ["a", "b (local)"]),
        (["b (local), lwf"], ["b (local)", "lwf"]),
        (["lwf,all"], ["lwf", "a", "b (local)"]),
    ],
)
def test_more_methods_run_when_they_are_named(options: list[str], names: list[str]) -> None:
    assert named(options) == names


def test_a_method_stands_in_one_place_only() -> None:
    with pytest.raises(ValidationError, match="'a' is listed in methods and in more_methods"):
        BenchmarkSpec.model_validate({**MORE, "more_methods": {"a": "replay"}})


QUICKSTART = load_benchmark("quickstart")[0]


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (["mine=ncm"], ["mine"]),
        (["mine = lwf+replay(capacity=50), ncm"], ["mine", "ncm"]),
        (["'er, ace'=replay(capacity=50)"], ["er, ace"]),
        (['"it\'s = mine"=lwf(alpha=1.0)'], ["it's = mine"]),
        (["mine=replay(capacity=[50, 60])"], ["mine(capacity=50)", "mine(capacity=60)"]),
        (["other=replay", "pet(kind=lora)"], ["other", "pet(kind=lora)"]),
    ],
)
def test_a_method_of_the_command_line_may_have_a_name(written: list[str], names: list[str]) -> None:
    assert [name for name, _ in outline(QUICKSTART, RunOptions(out=Path(), methods=written, seeds=[0]))] == names


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("replay=ncm", "'replay' is a method of the benchmark: give 'ncm' another name"),
        ("=ncm", "write NAME=METHOD, such as er-ace=./er_ace.py"),
        ("mine=", "write NAME=METHOD"),
        ("''=ncm", "write NAME=METHOD"),
        ("mine=ncmm", "Did you mean 'ncm'"),
    ],
)
def test_a_name_that_is_none_is_refused(written: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        outline(QUICKSTART, RunOptions(out=Path(), methods=[written]))


OWN = "from clsuite.plugin import Plugin\n\nclass ErAce(Plugin):\n    pass\n"


def test_the_name_of_one_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "er_ace.py").write_text(OWN)
    bench = ["bench", "quickstart", "--seeds", "0", "--dry-run", "--out", str(tmp_path / "runs")]
    for given in (["--methods", str(tmp_path / "er_ace.py"), "--name", "er-ace"],
                  ["--methods", f"er-ace={tmp_path / 'er_ace.py'}"]):  # fmt: skip
        assert main([*bench, *given]) == 0
        assert f"{tmp_path}/runs/quickstart/er-ace/seed0-" in capsys.readouterr().out
    for given in (["--name", "x"], ["--methods", "ncm,lwf", "--name", "x"], ["--methods", "y=ncm", "--name", "x"]):
        assert main([*bench, *given]) == 2
        assert "--name is for a single method" in capsys.readouterr().err
