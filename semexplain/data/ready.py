"""From a configuration to data that can be read."""

from typing import Any

from omegaconf import DictConfig

from semexplain.config import ConfigError, instantiate
from semexplain.data.module import ImageDataModule


def ready_data(config: DictConfig, **changes: Any) -> ImageDataModule:
    """Build a data module, let it fetch or draw what is missing, and read its splits.

    Args:
        config: The node ``data`` of a configuration.
        **changes: Parameters to use in place of the configuration's.

    Raises:
        ConfigError: If the data are not as they should be; the message says what is missing and how to get it.
    """
    datamodule = instantiate(config, **changes)
    try:
        datamodule.prepare_data()
        datamodule.setup()
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(f"data: {error}") from error
    return datamodule
