"""A decoding process: it reads numbers of chunks and answers each with a line of JSON, until its input ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from clsuite.data.decoding.job import Job
from clsuite.errors import UserError


def main(folder: str) -> None:
    """Decode the requested chunks of the job in a folder."""
    job = Job.open(Path(folder))
    for line in sys.stdin:
        try:
            job.fill(int(line))
            answer: dict[str, int | str] = {"done": int(line)}
        except UserError as error:
            answer = {"error": str(error)}
        except (OSError, MemoryError) as error:
            answer = {"error": f"cannot decode into '{folder}': {error or type(error).__name__}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
