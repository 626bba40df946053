"""Test accuracy of `mini` on the SMS Spam Collection, over seeds.

python -m experiments.sms_spam.run --seeds 0 1 2 3 4
"""

import dataclasses

from experiments import baselines
from experiments.study.command import main
from experiments.study.spec import ACCURACIES, Setting, Study
from gpt2_jax.config import FINETUNE_PRESETS, DataConfig, FinetuneConfig

BOOK = FINETUNE_PRESETS["book"]
SETTINGS = {
    "--data sms-spam": FinetuneConfig(
        data=DataConfig(source="sms-spam", balance="undersample")
    ),
    "--preset book --pool last_real": dataclasses.replace(BOOK, pool="last_real"),
    "--preset book": BOOK,
}
STUDY = Study(
    name="sms_spam",
    title="The shipped base model on SMS Spam",
    question="How accurate is the shipped base model on the SMS Spam Collection?",
    settings=tuple(Setting(f"`{name}`", config) for name, config in SETTINGS.items()),
    command="python -m experiments.sms_spam.run",
    beside=baselines.accuracies,
    metrics=ACCURACIES,
)

if __name__ == "__main__":
    main(STUDY)
