"""Test accuracy of `mini` on the SMS Spam Collection, over seeds.

python -m experiments.sms_spam.run --seeds 0 1 2 3 4
"""

import dataclasses

from experiments.over_seeds import main
from gpt2_jax.config import FINETUNE_PRESETS, DataConfig, FinetuneConfig

BOOK = FINETUNE_PRESETS["book"]
SETTINGS = {
    "--data sms-spam": FinetuneConfig(data=DataConfig(source="sms-spam")),
    "--preset book --pool last_real": dataclasses.replace(BOOK, pool="last_real"),
    "--preset book": BOOK,
}

if __name__ == "__main__":
    main(SETTINGS, "sms_spam")
