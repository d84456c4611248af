"""Suites and helpers for tests of adapters and services. Shipped, so that third parties can run them."""
