"""The edge agent. Its capabilities come with the gateway issue; the wire format is in docs/wire-format.md."""
