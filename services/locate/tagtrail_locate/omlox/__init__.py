"""The omlox Hub v2 face under /omlox/v2: our sites, zones, tags and assets in omlox's words."""
