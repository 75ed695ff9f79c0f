"""What every function reads from its environment, typed; a missing or wrong value stops it at start, by name."""

from pydantic_settings import BaseSettings


class Destinations(BaseSettings):
    """Where records, results and news go."""

    images_table: str
    results_bucket: str
    notifications_topic: str
    notifications_bus: str = ""
