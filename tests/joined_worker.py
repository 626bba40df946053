"""A process that trains runs, one after another, as one of several.

    python joined_worker.py COORDINATOR COUNT PROCESS JOBS

JOBS is a JSON list of {"config", "workdir", "holds"}: with the last each device holds
all texts, as an accelerator does. The processes meet once, and import what
they need once, for all runs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import mock

from gpt2_jax.config import FinetuneConfig, from_dict
from gpt2_jax.distributed import Processes, process_group
from gpt2_jax.training import above
from gpt2_jax.training.finetune import finetune

if __name__ == "__main__":
    coordinator, count, process, jobs = sys.argv[1:]
    with process_group(Processes(coordinator, int(count), int(process), 60)):
        for job in json.loads(jobs):
            config = from_dict(FinetuneConfig, job["config"])
            holds = mock.Mock(return_value=job["holds"])
            with mock.patch.object(above, "keeps_outputs", holds):
                finetune(config, Path(job["workdir"]))
