"""Gateway formats: pure readers from bytes to readings of tags and facts about gateways."""

from tagtrail_ingest.adapters.contract import (
    UNRESOLVED,
    Adapter,
    Decoded,
    GatewayFact,
    Message,
    Reading,
    Refusal,
    UnreadableError,
    event_id_of,
    to_event,
)
from tagtrail_ingest.adapters.registry import ADAPTERS, ROUTES
from tagtrail_ingest.adapters.routing import (
    DEFAULT_RULES,
    TOPIC_FILTERS,
    Match,
    Router,
    TopicRule,
    adapter_for_route,
    adapter_for_topic,
)

__all__ = [
    "ADAPTERS",
    "DEFAULT_RULES",
    "ROUTES",
    "TOPIC_FILTERS",
    "UNRESOLVED",
    "Adapter",
    "Decoded",
    "GatewayFact",
    "Match",
    "Message",
    "Reading",
    "Refusal",
    "Router",
    "TopicRule",
    "UnreadableError",
    "adapter_for_route",
    "adapter_for_topic",
    "event_id_of",
    "to_event",
]
