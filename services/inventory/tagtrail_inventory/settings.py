"""Settings of inventory."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class InventorySettings(BaseSettings):
    """What inventory can be told."""

    model_config = SettingsConfigDict(env_prefix="TAGTRAIL_INVENTORY_", frozen=True, extra="ignore")

    applied_wait_s: float = Field(
        2.0, ge=0, le=30,
        description="Longest wait of a command for its own effect to be readable, seconds.",
    )  # fmt: skip
    future_tolerance_s: float = Field(
        120.0, ge=0, le=86_400,
        description="How far in the future the time of a stated fact may lie, seconds.",
    )  # fmt: skip
    import_max_rows: int = Field(
        20_000, ge=1, le=200_000, description="Most rows of one CSV import."
    )
