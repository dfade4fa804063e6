"""What is read from a plugin's source."""

from __future__ import annotations

import ast
import textwrap
from typing import Any

import pytest

from clsuite.plugin import API_VERSION, Plugin, Traits
from clsuite.plugin.former_names import FORMER_HOOKS, FORMER_TRAITS
from clsuite.plugin.introspection import MISSING, Parameter, PluginSource, read_source
from clsuite.plugin.source_hash import source_hash


def read(text: str, name: str = "X") -> PluginSource:
    return read_source(textwrap.dedent(text), name)


def test_everything_at_once() -> None:
    text = '''
        """A module."""
        from clsuite.plugin import Plugin, Traits

        Kind = Literal["a", "b"]

        class X(Plugin):
            """Does things.

            At length.
            """

            traits = Traits(memory=("logits",), incompatible_with={"exemplars": "no"}, gradient_free=True, paper="2030")

            def __init__(self, alpha: float, kind: Kind = "a", *, sizes: tuple[int, ...] | None = (1, 2)) -> None:
                pass

            def predict(self, learner, batch):
                pass
    '''
    source = read(text)
    assert source.summary == "Does things."
    assert source.parameters == (
        Parameter("alpha", "float", MISSING),
        Parameter("kind", "Kind", "a", {"Kind": "Literal['a', 'b']"}),
        Parameter("sizes", "tuple[int, ...] | None", (1, 2)),
    )
    assert source.traits == Traits(
        memory=("logits",), incompatible_with={"exemplars": "no"}, gradient_free=True, paper="2030"
    )
    assert source.hooks == {"predict"}
    assert not source.unclear
    assert source.sha256 == source_hash(ast.parse(textwrap.dedent(text)))


def test_what_a_file_says_is_hashed_and_not_how_it_is_written() -> None:
    assert read("class X: pass").sha256 == read("class X: pass # remark").sha256
    assert read("class X: pass").sha256 != read("class X: x = 1").sha256


def test_nothing_declared() -> None:
    source = read("class X: pass")
    assert source == PluginSource("", (), Traits(), frozenset(), "class X: pass")


@pytest.mark.parametrize("text", ["class X: pass", "class X:\n    api = 2", "class X:\n    api: ClassVar[int] = 2"])
def test_the_version_of_the_api(text: str) -> None:
    assert read(text).api == Plugin.api == API_VERSION == 2


def test_annotated_traits_count() -> None:
    assert read('class X:\n    traits: ClassVar[Traits] = Traits(paper="P")').traits.paper == "P"


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("self, a=1", [("a", "Any", 1)]),
        ("self, a, b=-2.5", [("a", "Any", MISSING), ("b", "Any", -2.5)]),
        ("self, a: int, /, b: 'int' = 3, *, c: bool, d: str = 's'", None),
        ("self, *args, **kwargs", []),
        ("self, a: list[int] = [1], b: dict = {'k': None}", [("a", "list[int]", [1]), ("b", "dict", {"k": None})]),
    ],
)
def test_signatures(signature: str, expected: list[tuple[str, str, Any]] | None) -> None:
    found = [
        (p.name, p.annotation, p.default) for p in read(f"class X:\n    def __init__({signature}): ...").parameters
    ]
    if expected is None:
        expected = [("a", "int", MISSING), ("b", "'int'", 3), ("c", "bool", MISSING), ("d", "str", "s")]
    assert found == expected


def test_bases_in_the_same_module_are_followed() -> None:
    source = read(
        """
        class Base(Plugin):
            traits = Traits(paper="base")
            def __init__(self, a: int = 1): ...
            def loss(self, learner, step): ...

        class Middle(Base):
            def predict(self, learner, batch): ...

        class X(Middle):
            def __init__(self, b: int = 2): ...
        """
    )
    assert source.hooks == {"loss", "predict"}
    assert [parameter.name for parameter in source.parameters] == ["b"]
    assert source.traits.paper == "base"


def test_the_nearest_class_wins() -> None:
    source = read(
        """
        class Base:
            traits = Traits(paper="base")

        class X(Base):
            traits = Traits(memory=("logits",))
        """
    )
    assert source.traits == Traits(memory=("logits",))


def test_other_classes_of_the_module_have_no_part_in_it() -> None:
    source = read("class X: pass\nclass Y:\n    def loss(self): ...\n")
    assert source.hooks == frozenset()


def test_a_class_that_names_itself_as_base_ends() -> None:
    assert read("class X(X):\n    def loss(self): ...").hooks == {"loss"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class Y: pass", "there is no class 'X'"),
        ("def X(): pass", "there is no class 'X'"),
        ("class X:\n    traits = ('vit',)", "traits must be written as Traits"),
        ("class X:\n    traits = replace(Traits(), invented=1)", "traits.invented"),
        ("class X:\n    traits = Traits(requires=('vot',))", "'vot' is not one of vit"),
        ("class X:\n    traits = Traits(invented=1)", "traits.invented"),
        (
            "class X:\n    api = 3\n    traits = Traits(new=1)",
            "written for version 3 of the plugin API, .* has version 2",
        ),
        ("class X:\n    api = '1'", "api must be the version of the plugin API, such as 2, not '1'"),
        ("class X:\n    api = 0", "api must be the version"),
        (
            "class X:\n    async def loss(self, learner, step): ...",
            "line 2: the hook loss is async, and nothing awaits it",
        ),
        (
            "class X:\n    loss = None",
            "line 2: loss is a value, but a hook is called: write def loss, or loss = Plugin.l",
        ),
        ("class X:\n    on_task_end = [1]", "on_task_end is a value, but a hook is called"),
    ],
)
def test_sources_that_cannot_be_read(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read(text)


def test_text_that_is_no_python() -> None:
    with pytest.raises(SyntaxError):
        read("class X(")


@pytest.mark.parametrize(("former", "now"), FORMER_HOOKS.items())
def test_a_hook_by_a_former_name_is_refused_with_the_name_of_now(former: str, now: str) -> None:
    with pytest.raises(ValueError, match=rf"line 2: the hook {former} is called {now} since version 2"):
        read(f"class X:\n    def {former}(self, learner, given): return given\n")
    assert not read(f"class X:\n    def {former}(self, own): return own\n").unclear


@pytest.mark.parametrize(("former", "now"), FORMER_TRAITS.items())
def test_a_trait_by_a_former_name_is_refused_with_the_name_of_now(former: str, now: str) -> None:
    with pytest.raises(ValueError, match=rf"traits\.{former} is called traits\.{now} since version 2"):
        read(f"class X:\n    traits = Traits({former}=())\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class X:\n    traits = Traits('vit')", "traits: 'Traits('vit')' is computed"),
        ("class X:\n    traits = TRAITS", "the source does not say what 'TRAITS' is"),
        ("class X:\n    traits = Traits(**more)", "the source does not say what 'more' is"),
        ("class X:\n    traits = make()", "'make()' is computed"),
        ("class X:\n    def traits(self): ...", "traits is computed"),
        ("class X:\n    def __init__(self, a=os.sep): ...", "default of 'a': the source does not say what 'os' is"),
        ("class X:\n    def __init__(self, a=1 << 2): ...", "'1 << 2' is not a constant"),
        ("class X:\n    def __init__(self, a=1 / 0): ...", "'1 / 0': division by zero"),
        ("class X:\n    @wrapped\n    def __init__(self, a=1): ...", "the constructor of 'X' is computed"),
        ("class X:\n    __init__ = other", "the constructor of 'X' is computed"),
        ("@dataclass\nclass X:\n    a: int = 1", "'X' is decorated"),
        ("class X(metaclass=M): ...", "'X' is made with metaclass"),
        ("class X:\n    if 1:\n        def loss(self, learner, step): ...", "line 2 of 'X' is not a plain definition"),
        ("class X: ...\nX.loss = print", "line 2 may change 'X'"),
        ("class X: ...\nregister(X)", "line 2 may change 'X'"),
        ("class X: ...\nX = wrapped(X)", "line 2 may change 'X'"),
        ("class X(bases()): ...", "the base 'bases()' of 'X' cannot be read as a class"),
        ("class X(torch.nn.Module): ...", "the base 'torch.nn.Module' of 'X'"),
        ("if 1:\n    from a import B\nclass X(B): ...", "the base 'B' of 'X'"),
        ("class B:\n    def __init_subclass__(cls): ...\nclass X(B): ...", "'B' changes the classes that derive"),
        ("class A: ...\nclass B(A): ...\nclass X(A, B): ...", "'X': Cannot create a consistent"),
        ("A = B\nB = A\nclass X:\n    def __init__(self, a=A): ...", "does not say what 'B' is"),
        ("".join(f"A{i + 1} = [*A{i}, *A{i}]\n" for i in range(40)).replace("A0", "'a'") + "class X:\n"
         "    def __init__(self, a=A40): ...", "the default of 'a'"),
    ],
)  # fmt: skip
def test_what_the_source_does_not_tell_is_said(text: str, reason: str) -> None:
    assert reason in read(text).unclear


@pytest.mark.parametrize(
    ("before", "written", "value"),
    [
        ("SIZE = 5", "SIZE", 5),
        ("SIZE = -5", "SIZE + 1", -4),
        ("SIZE: int = 2 * 1024", "SIZE", 2048),
        ("A = (1, 2)", "(*A, 3)", (1, 2, 3)),
        ("A = {'a': 1}", "{**A, 'b': 2}", {"a": 1, "b": 2}),
        ("A = 1\nB = A", "B", 1),
        ("A = 1", "[A, not A]", [1, False]),
        ("A = 'a'", "A + 'b'", "ab"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import x\nA = 3", "A", 3),
    ],
)
def test_a_default_may_be_a_named_constant(before: str, written: str, value: Any) -> None:
    source = read_source(f"{before}\nclass X:\n    def __init__(self, a={written}): ...\nSIZE = 6\nA = 7", "X")
    assert not source.unclear
    assert [(one.name, one.default) for one in source.parameters] == [("a", value)]


def test_a_default_may_be_a_constant_of_the_class() -> None:
    source = read("class X:\n    SIZE = 4\n    def __init__(self, a: int = SIZE): ...")
    assert (source.parameters[0].default, source.unclear) == (4, "")


TRAITS_OF = [
    "Traits(memory=MEMORY, paper=PAPER)",
    "Traits(memory=('logits', *MORE), paper=PAPER)",
    "Traits(**GIVEN)",
    "replace(Base.traits, memory=MEMORY)",
    "dataclasses.replace(Base.traits, memory=(*Base.traits.memory, *MORE))",
    "OWN",
]


@pytest.mark.parametrize("written", TRAITS_OF)
def test_traits_may_use_names_and_replace_those_of_a_base(written: str) -> None:
    source = read_source(
        "import dataclasses\nfrom dataclasses import replace\nfrom clsuite.plugin import Traits\n"
        "MORE = ('weights',)\nMEMORY = ('logits', 'weights')\nPAPER = 'P'\nGIVEN = {'memory': MEMORY, 'paper': PAPER}\n"
        "OWN = Traits(memory=MEMORY, paper=PAPER)\n"
        f"class Base:\n    traits = Traits(memory=('logits',), paper=PAPER)\nclass X(Base):\n    traits = {written}\n",
        "X",
    )
    assert (source.traits, source.unclear) == (Traits(memory=("logits", "weights"), paper="P"), "")


@pytest.mark.parametrize(
    ("body", "hooks"),
    [
        ("@torch.no_grad()\n    def on_task_end(self, learner, task): ...", {"on_task_end", "loss"}),
        ("@property\n    def predict(self): ...", {"predict", "loss"}),
        ("loss = lambda self, learner, step: None", {"loss"}),
        ("predict = other", {"predict", "loss"}),
        ("predict = make_predict(3)", {"predict", "loss"}),
        ("loss = Plugin.loss", set()),
        ("predict = Base.predict", {"loss"}),
        ("predict = Base.loss", {"predict", "loss"}),
        ("on_task_end = on_task_exit = other", {"on_task_end", "on_task_exit", "loss"}),
    ],
)
def test_a_hook_may_be_defined_in_any_way(body: str, hooks: set[str]) -> None:
    text = "from clsuite.plugin import Plugin\ndef other(self, learner, step): ...\n"
    text += "class Base(Plugin):\n    def loss(self, learner, step): ...\n"
    source = read_source(f"{text}class X(Base):\n    {body}\n", "X")
    assert (source.hooks, source.unclear) == (hooks, "")


@pytest.mark.parametrize(
    ("own", "call", "expected"),
    [
        ("*args, **kwargs", "super().__init__(*args, **kwargs)", ["a", "b", "c"]),
        ("**kwargs", "super().__init__(**kwargs)", ["a", "b", "c"]),
        ("**more", "Base.__init__(self, **more)", ["a", "b", "c"]),
        ("**kwargs", "super(X, self).__init__(**kwargs)", ["a", "b", "c"]),
        ("d: int = 4, **kwargs", "super().__init__(**kwargs)", ["d", "a", "b", "c"]),
        ("b: int = 9, **kwargs", "super().__init__(b=b, **kwargs)", ["b", "a", "c"]),
        ("**kwargs", "super().__init__(5, c=2, **kwargs)", ["b"]),
        ("**kwargs", "Base.__init__(self, 5, c=2, **kwargs)", ["b"]),
        ("d=1, *args", "super().__init__(*args)", ["d"]),
        ("**kwargs", "super().__init__()", []),
    ],
)
def test_arguments_that_are_passed_on_are_the_bases(own: str, call: str, expected: list[str]) -> None:
    base = "class Base:\n    def __init__(self, a: int = 1, b: int = 2, *, c: float = 3.0): ...\n"
    source = read_source(f"{base}class X(Base):\n    def __init__(self, {own}):\n        {call}\n", "X")
    assert [one.name for one in source.parameters] == expected
    assert {one.name: one.default for one in source.parameters}.get("c", 3.0) == 3.0


@pytest.mark.parametrize(
    "body",
    ["kwargs['a'] = 2; super().__init__(**kwargs)", "super().__init__(**kwargs); self.given = kwargs",
     "A.__init__(self, **kwargs); B.__init__(self, **kwargs)"],
)  # fmt: skip
def test_arguments_that_are_changed_on_the_way_are_refused(body: str) -> None:
    with pytest.raises(ValueError, match=r"line 2: the constructor does not only pass \*\*kwargs on once"):
        read(f"class X:\n    def __init__(self, **kwargs):\n        {body}\n")
