"""Why a run failed: the reason on one line, the place, and how much of a traceback a record keeps."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pydantic
import pytest

from clsuite.records import RunRecord, bounded, place_of, reason_of


class Spec(pydantic.BaseModel):
    number: int


def failed(record: RunRecord, error: str | None, status: str = "failed") -> RunRecord:
    return record.model_copy(update={"status": status, "error": error})


def trace_of(raising: Callable[[], object]) -> str:
    try:
        raising()
    except BaseException:
        return traceback.format_exc()
    raise AssertionError("nothing was raised")


def exits() -> None:
    raise SystemExit(0)


def of_several_lines() -> None:
    raise RuntimeError("Error(s) in loading:\n\tMissing key: a\n\tUnexpected key: b")


def chained() -> None:
    try:
        of_several_lines()
    except RuntimeError as error:
        raise KeyError("the last one") from error


@pytest.mark.parametrize(
    ("raising", "expected"),
    [
        (lambda: Spec.model_validate({"number": "x"}), "ValidationError: 1 validation error for Spec ... Input should"),
        (of_several_lines, "RuntimeError: Error(s) in loading: ... Unexpected key: b"),
        (chained, "KeyError: 'the last one'"),
        (exits, "SystemExit: 0"),
        (lambda: [][1], "IndexError: list index out of range"),
    ],
)
def test_the_reason_is_what_the_exception_says(raising: Callable[[], object], expected: str, record: RunRecord) -> None:
    reason = reason_of(failed(record, trace_of(raising)))
    assert expected in reason
    assert "\n" not in reason
    assert "further information" not in reason


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("UserError: no room", "UserError: no room"),
        ("stopped after 5 s\n\n", "stopped after 5 s"),
        (None, "failed"),
        ("", "failed"),
        ("\n", "failed"),
        ("For further information visit https://x", "failed"),
    ],
)
def test_the_reason_of_what_is_no_traceback(error: str | None, expected: str, record: RunRecord) -> None:
    assert reason_of(failed(record, error)) == expected


def test_texts_of_megabytes_are_bounded(record: RunRecord) -> None:
    def floods() -> None:
        raise RuntimeError("x" * 50_000_000)

    error = bounded(trace_of(floods))
    assert len(error) < 25_000
    assert "characters are left out" in error
    assert "in floods" in error
    assert len(reason_of(failed(record, error))) < 1_000
    assert "RuntimeError: xxx" in reason_of(failed(record, error))
    assert len(reason_of(failed(record, "y" * 10**6))) < 1_000
    assert bounded("short\n") == "short\n"


def test_the_place_is_the_last_line_of_a_plugin(record: RunRecord) -> None:
    error = failed(record, trace_of(chained))
    line = of_several_lines.__code__.co_firstlineno + 1
    assert place_of(failed(record, trace_of(of_several_lines)), ["test_failure.py"]).endswith(
        f"test_failure.py:{line}, in of_several_lines: "
        'raise RuntimeError("Error(s) in loading:\\n\\tMissing key: a\\n\\tUnexpected key: b")'
    )
    assert "in chained: raise KeyError" in place_of(error, ["gone.py"])
    assert place_of(failed(record, "UserError: x"), ["test_failure.py"]) == ""


def test_a_plugin_is_named_before_the_library_that_it_calls(record: RunRecord) -> None:
    def calls() -> None:
        pydantic.TypeAdapter(int).validate_json(object())  # type: ignore[arg-type]

    error = failed(record, trace_of(calls))
    assert "type_adapter.py" in place_of(error, ["gone.py"])
    assert "test_failure.py" in place_of(error, ["test_failure.py"])


def test_halves_of_characters_can_be_written() -> None:
    assert bounded("a \ud800 \U0001f98a") == "a \\ud800 \U0001f98a"
