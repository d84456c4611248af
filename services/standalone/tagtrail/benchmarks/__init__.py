"""Measurements that print ratios; their limits are in bench/limits.json."""
