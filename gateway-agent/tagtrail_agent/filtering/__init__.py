"""The edge filter, its rules, and the alarms that a gateway raises by itself."""

from tagtrail_agent.filtering.actions import LogAndFile
from tagtrail_agent.filtering.alarmrules import AlarmRule
from tagtrail_agent.filtering.alarms import Alarm, AlarmSink, AlarmWatch
from tagtrail_agent.filtering.counts import Counts
from tagtrail_agent.filtering.edge import EdgeFilter
from tagtrail_agent.filtering.errors import (
    RulesDocumentError,
    RulesError,
    RulesSignatureError,
)
from tagtrail_agent.filtering.matching import Match, Traits, TraitsOf, enrolled_traits
from tagtrail_agent.filtering.profile import Profile
from tagtrail_agent.filtering.rules import Rules, default_rules, parse_rules
from tagtrail_agent.filtering.signing import verified_rules

__all__ = [
    "Alarm", "AlarmRule", "AlarmSink", "AlarmWatch", "Counts", "EdgeFilter", "LogAndFile", "Match",
    "Profile", "Rules", "RulesDocumentError", "RulesError", "RulesSignatureError", "Traits",
    "TraitsOf", "default_rules", "enrolled_traits", "parse_rules", "verified_rules",
]  # fmt: skip
