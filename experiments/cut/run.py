"""At which block should the frozen part end?

python -m experiments.cut.run --seeds 0 1 2
"""

from __future__ import annotations

import dataclasses

from experiments import baselines
from experiments.study.command import main
from experiments.study.spec import Setting, Study
from gpt2_jax.config import DataConfig, FinetuneConfig

LAYERS = 12  # of mini, and of 124M
CUTS = range(LAYERS + 1)
RATES = {"1e-3": 1e-3, "3e-4": 3e-4}
BASE = FinetuneConfig(data=DataConfig(source="sms-spam", balance="undersample"))


def patterns(cut: int) -> tuple[str, ...]:
    """Return what trains: the blocks from `cut` on, the final norm and the head."""
    blocks = "|".join(str(block) for block in range(cut, LAYERS))
    above = (rf"h_({blocks})/.*",) if blocks else ()
    return (*above, r"ln_f/.*", r"out_head/.*")


STUDY = Study(
    name="cut",
    title="At which block should the frozen part end?",
    question="Test accuracy on SMS Spam over the number of frozen blocks (of 12); the "
    "embeddings never train.",
    settings=tuple(
        Setting(
            f"learning rate {name}",
            dataclasses.replace(
                BASE,
                train=dataclasses.replace(
                    BASE.train, trainable=patterns(cut), learning_rate=rate
                ),
            ),
            x=cut,
        )
        for name, rate in RATES.items()
        for cut in CUTS
    ),
    command="python -m experiments.cut.run",
    beside=baselines.accuracies,
    x_label="frozen blocks",
)

if __name__ == "__main__":
    main(STUDY)
