"""Write the folder that `datasets.save_to_disk` makes: run with datasets installed.

pip install datasets; python tests/golden/make_hf_dataset.py
"""

from __future__ import annotations

from pathlib import Path

from datasets import (  # pyright: ignore[reportMissingImports]
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Value,
)

FEATURES = Features(
    {"sms": Value("string"), "label": ClassLabel(names=["ham", "spam"])}
)
PARTS = {
    "train": [("see you at six", 0), ("win a prize", 1), ("", 0), ("free 🎉", 1)],
    "test": [("are you home", 0), ("claim your cash", 1)],
}

folder = Path(__file__).parent / "hf_dataset"
parts = DatasetDict()
for part, rows in PARTS.items():
    parts[part] = Dataset.from_dict(
        {"sms": [text for text, _ in rows], "label": [label for _, label in rows]},
        features=FEATURES,
    )
parts.save_to_disk(folder)
