"""`tagtrail locate`: surveying, calibrating and scoring a site over the API."""
