"""A seeded warehouse that sends what real gateways send, with the truth beside it."""
