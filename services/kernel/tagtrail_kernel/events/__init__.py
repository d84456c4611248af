"""All facts. Importing this package registers every event type."""

from tagtrail_kernel.events import alerts as alerts
from tagtrail_kernel.events import gateways as gateways
from tagtrail_kernel.events import operations as operations
from tagtrail_kernel.events import places as places
from tagtrail_kernel.events import registrations as registrations
from tagtrail_kernel.events import shipments as shipments
from tagtrail_kernel.events import sightings as sightings
from tagtrail_kernel.events import stock as stock
from tagtrail_kernel.events import surveys as surveys
