"""From the outbox to the server: MQTT 3.1.1 or HTTP with the same body."""
