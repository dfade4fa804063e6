"""Registered plugins and the arguments that make them small enough for tests; a new plugin gets its line here."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "aper": {"size": 4},
    "backdoor": {"networks": {"omniglot_vit": "bundled"}},
    "block_expansion": {"blocks": 1},
    "cl_lora": {"rank": 2},
    "classifier_alignment": {"samples": 16},
    "coda_prompt": {"components": 9, "length": 2, "blocks": "all"},
    "dual_prompt": {"general_length": 2, "expert_length": 2, "general_blocks": "0", "expert_blocks": "1"},
    "ease": {"size": 4},
    "first_session": {"size": 4},
    "fpf": {"steps": 5},
    "gem": {"capacity": 12},
    "hide": {"blocks": "all", "centroids": 2, "samples": 16, "epochs": 2, "task_samples": 16, "task_epochs": 5},
    "l2p": {"size": 2, "pool": 4, "top_k": 2},
    "lae": {"blocks": "all", "frozen_epochs": 0, "decay": 0.9},
    "icarl": {"capacity": 18},
    "inflora": {"rank": 2},
    "kfpf": {"steps": 5, "alpha": 0.5},
    "moder": {"epochs": 2},
    "moe_adapters": {"experts": 3, "size": 4, "code": 8, "code_steps": 5},
    "mos": {"size": 4, "samples": 16, "align_epochs": 3},
    "ranpac": {"projection": 300},
    "rapf": {"draws": 4},
    "rwalk": {"interval": 2},
    "s_pet": {"size": 2},
    "sd_lora": {"rank": 2, "boundary": "carry", "drop_below": 0.001},
    "sema": {"size": 4, "code": 8, "threshold": 1.0, "descriptor_epochs": 2},
    "slca": {"samples": 16},
    "spu": {"head_epochs": 1},
    "ssiat": {"size": 4, "samples": 16},
    "saft": {"share": 0.01, "rescore": "task"},
    "tuna": {"size": 4, "samples": 16, "align_epochs": 3, "orthogonality": 0.1},
    "zscl": {"reference_batch": 8, "ensemble_every": 2},
}

NEEDS: dict[str, dict[str, Any]] = {
    "duct": {"head": "cosine"},
    "ssiat": {"head": "cosine"},
    "tuna": {"head": "cosine"},
}
"""What methods refuse to learn without, of the training that their traits say."""
