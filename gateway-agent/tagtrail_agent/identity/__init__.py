"""Whose advert this is: adverts and readings of enrolled tags pass, everything else is counted."""

from tagtrail_agent.identity.counts import Counts
from tagtrail_agent.identity.enrolment import EnrolledTag, Enrolment, Keys, TagListError
from tagtrail_agent.identity.resolver import Resolver
from tagtrail_agent.identity.rolling import RollingKey
from tagtrail_agent.identity.spelling import nfc_identity, normal_identity, uri_identity

__all__ = [
    "Counts",
    "EnrolledTag",
    "Enrolment",
    "Keys",
    "Resolver",
    "RollingKey",
    "TagListError",
    "nfc_identity",
    "normal_identity",
    "uri_identity",
]
