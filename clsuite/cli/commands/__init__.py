"""The commands. Their dependencies are imported when they run, so that ``--help`` is fast."""

from __future__ import annotations

from clsuite.cli.commands import (
    analyze,
    bench,
    cache,
    check,
    cite_table,
    compare,
    leaderboard,
    list,
    merge,
    new,
    plot,
    pretrain,
    show,
    status,
    table,
    tune,
    work,
)
from clsuite.cli.commands.base import Command

COMMANDS: dict[str, Command] = {
    "bench": bench.COMMAND,
    "work": work.COMMAND,
    "status": status.COMMAND,
    "merge": merge.COMMAND,
    "new": new.COMMAND,
    "check": check.COMMAND,
    "list": list.COMMAND,
    "show": show.COMMAND,
    "compare": compare.COMMAND,
    "plot": plot.COMMAND,
    "table": table.COMMAND,
    "cite-table": cite_table.COMMAND,
    "tune": tune.COMMAND,
    "analyze": analyze.COMMAND,
    "pretrain": pretrain.COMMAND,
    "cache": cache.COMMAND,
    "leaderboard": leaderboard.COMMAND,
}
