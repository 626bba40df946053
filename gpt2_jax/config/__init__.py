"""Every default of the project, in frozen and validated dataclasses."""

from gpt2_jax.config.adapt import AdaptConfig as AdaptConfig
from gpt2_jax.config.check import CheckConfig as CheckConfig
from gpt2_jax.config.data import BALANCES as BALANCES
from gpt2_jax.config.data import BOOK_SPLITS as BOOK_SPLITS
from gpt2_jax.config.data import DataConfig as DataConfig
from gpt2_jax.config.fields import from_dict as from_dict
from gpt2_jax.config.fields import to_dict as to_dict
from gpt2_jax.config.finetune import FINETUNE_PRESETS as FINETUNE_PRESETS
from gpt2_jax.config.finetune import FinetuneConfig as FinetuneConfig
from gpt2_jax.config.finetune import from_stored as from_stored
from gpt2_jax.config.layout import NAMINGS as NAMINGS
from gpt2_jax.config.layout import LayoutConfig as LayoutConfig
from gpt2_jax.config.layout import NamingName as NamingName
from gpt2_jax.config.model import DTYPES as DTYPES
from gpt2_jax.config.model import POOLS as POOLS
from gpt2_jax.config.model import PRESETS as PRESETS
from gpt2_jax.config.model import GPT2Config as GPT2Config
from gpt2_jax.config.model import PoolName as PoolName
from gpt2_jax.config.serve import ServeConfig as ServeConfig
from gpt2_jax.config.train import METRICS as METRICS
from gpt2_jax.config.train import PARALLEL as PARALLEL
from gpt2_jax.config.train import SCHEDULES as SCHEDULES
from gpt2_jax.config.train import SHARDS as SHARDS
from gpt2_jax.config.train import TRAINABLE as TRAINABLE
from gpt2_jax.config.train import TrainConfig as TrainConfig
