"""PostgreSQL and NATS as supervised processes of this one: what runs when no outside servers are named."""

from tagtrail.embedded.errors import EmbeddedError, HomeInUseError
from tagtrail.embedded.home import default_home
from tagtrail.embedded.supervisor import Embedded, running

__all__ = ["Embedded", "EmbeddedError", "HomeInUseError", "default_home", "running"]
