"""Write LoRA adapters of peft, and the logits of transformers with them.

    python tests/golden/make_adapters.py

needs torch, transformers and peft (made with 2.13.0, 5.24.0 and 0.21.2). The base model
is `weights/hf_safetensors`; each adapter is a folder of `adapters/`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import (  # pyright: ignore[reportMissingImports]
    LoraConfig,
    get_peft_model,
)
from transformers import GPT2ForSequenceClassification, GPT2LMHeadModel

HERE = Path(__file__).parent
BASE = HERE / "weights" / "hf_safetensors"
TOKENS = torch.arange(12).reshape(2, 6)
KINDS: dict[str, dict[str, Any]] = {
    "attention": {"target_modules": ["c_attn"], "task_type": "CAUSAL_LM"},
    "all": {
        "target_modules": ["c_attn", "c_proj", "c_fc"],
        "task_type": "CAUSAL_LM",
        "use_rslora": True,
        "bias": "lora_only",
        "rank_pattern": {"c_fc": 3},
        "alpha_pattern": {"c_fc": 5},
    },
    "classifier": {"target_modules": ["c_attn"], "task_type": "SEQ_CLS"},
    "dora": {"target_modules": ["c_attn"], "use_dora": True, "task_type": "CAUSAL_LM"},
}


def main() -> None:
    torch.manual_seed(0)
    for name, kind in KINDS.items():
        if kind["task_type"] == "SEQ_CLS":
            base: Any = GPT2ForSequenceClassification.from_pretrained(
                BASE, num_labels=3, pad_token_id=22
            )
        else:
            base = GPT2LMHeadModel.from_pretrained(BASE)
        config = LoraConfig(r=2, lora_alpha=7, fan_in_fan_out=True, **kind)
        model = get_peft_model(base, config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.3)
            logits = model.eval()(input_ids=TOKENS).logits
        folder = HERE / "adapters" / name
        model.save_pretrained(folder)
        (folder / "README.md").unlink()
        path = folder / "adapter_config.json"
        values = json.loads(path.read_text())
        values["base_model_name_or_path"] = "BASE"  # wherever the tests lie
        path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
        np.save(folder / "logits.npy", logits.numpy())


if __name__ == "__main__":
    main()
