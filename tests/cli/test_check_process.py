"""`clsuite check` of plugins that end the process that checks them, or raise what is not an error: told by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from python_devices import needs_python_devices

from clsuite.cli import check_process
from clsuite.cli.main import main
from clsuite.conformance.suite import check_method
from clsuite.plugin import Plugin

HEAD = "import os\nimport time\n\nfrom clsuite.plugin import Plugin\n\n\nclass Bad(Plugin):\n    '''Bad.'''\n\n"
START = "    def on_stream_start(self, learner, scenario):\n        "
MADE = "    def __init__(self):\n        super().__init__()\n        "
ODD = "class Odd(Exception):\n            def __str__(self):\n                raise ValueError\n        raise Odd\n"


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Checks a plugin; returns the status and what is told."""
    monkeypatch.chdir(tmp_path)

    def run(body: str) -> tuple[int, str]:
        Path("bad.py").write_text(HEAD + body)
        status = main(["check", "./bad.py"])
        told = capsys.readouterr()
        assert "Traceback" not in told.out + told.err
        return status, told.out + told.err

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            START + "os._exit(0)\n",
            "'./bad.py' ends its check (trains): the process exited with status 0 and wrote no result",
        ),
        (START + "os.abort()\n", "'./bad.py' ends its check (trains): the process was ended by SIGABRT"),
        (MADE + "os.kill(os.getpid(), 11)\n", "ends its check (constructor): the process was ended by SIGSEGV"),
        (START + "pass\n\n\nos._exit(3)\n", "ends its check (import): the process exited with status 3"),
        (START + "os.closerange(3, 256)\n", "'./bad.py' ends its check (trains): "),
        (
            START + "pass\n\n\nimport torch\ntorch.set_default_device('meta')\n",
            "'./bad.py' ends its check (trains): RuntimeError: |the weights '",  # PyTorch 2.8 loads none then
        ),
        (START + "pass\n\n\nraise KeyboardInterrupt\n", "plugin 'bad.py' fails to import: KeyboardInterrupt"),
        (START + "pass\n\n\nraise BaseException('own')\n", "plugin 'bad.py' fails to import: BaseException: own"),
    ],
)
def test_what_ends_the_process_is_told_by_name(check, body: str, words: str) -> None:  # type: ignore[no-untyped-def]
    status, told = check(body)
    assert status == 2
    assert any(part in told for part in words.split("|"))
    assert told.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (START + "raise KeyboardInterrupt\n", "trains: failed"),
        (MADE + "raise GeneratorExit('own')\n", "creating it ends with RuntimeError: GeneratorExit: own"),
        (MADE + ODD, "creating it ends with RuntimeError: Odd"),
        (
            "    @property\n    def loss(self):\n        raise ValueError('own')\n",
            "creating it ends with ValueError: own",
        ),
    ],
)
def test_what_is_raised_is_a_finding_whatever_it_is(check, body: str, words: str) -> None:  # type: ignore[no-untyped-def]
    status, told = check(body)
    assert status == 1
    assert words in told


@pytest.mark.slow
def test_what_hangs_is_stopped(check, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(check_process, "SILENCE", 6.0)
    status, told = check(START + "time.sleep(1000)\n")
    assert status == 2
    assert "'./bad.py' hangs in its check (trains): it was stopped after 6 s" in told


@pytest.mark.slow
def test_a_training_that_cannot_be_is_told_before_anything_starts(check) -> None:  # type: ignore[no-untyped-def]
    status, told = check("    from clsuite.plugin import Traits\n    traits = Traits(training={'epoch': 3})\n")
    assert status == 2
    assert "unknown training key of plugin 'bad.py': 'epoch'. Did you mean 'epochs'?" in told


class WithoutWords(Plugin):
    """Learns a ViT, and says nothing where there is none."""

    def on_task_start(self, learner: object, task: object) -> None:
        """Begin."""
        assert hasattr(learner.backbone.model, "patch_embed")  # type: ignore[attr-defined]


@pytest.mark.slow
def test_an_error_without_words_is_told_where_a_vit_is_needed() -> None:
    told = [str(finding) for finding in check_method([WithoutWords]).findings]
    assert any("on a ResNet it ends with AssertionError" in one for one in told), told


@pytest.mark.slow
@needs_python_devices
def test_a_method_is_checked_on_a_device_that_is_not_the_cpu(tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """A tensor that stays on the CPU is found, wherever it is made; on the CPU itself nothing is wrong with it."""
    monkeypatch.chdir(tmp_path)
    body = (
        "    def on_task_end(self, learner, task):\n"
        "        features = learner.features_of(task.train)\n"
        "        self.mean = features.mean(dim=0) * torch.ones(features.shape[1])\n"
    )
    Path("bad.py").write_text("import torch\n" + HEAD + body)
    assert main(["check", "./bad.py", "--device", "simulated"]) == 1
    told = capsys.readouterr().out
    assert "device: failed" in told
    assert "same device" in told
    assert "self.mean = features.mean(dim=0)" in told


@pytest.mark.parametrize(
    ("device", "words"),
    [("tpu", "unknown device 'tpu'"), ("cuda:9", "device 'cuda:9' is not available")],
)
def test_a_device_that_is_not_there_is_told(check, device: str, words: str, capsys) -> None:  # type: ignore[no-untyped-def]
    Path("fine.py").write_text(HEAD)
    assert main(["check", "./fine.py", "--device", device]) == 2
    assert words in capsys.readouterr().err
