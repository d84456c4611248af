"""The console: web pages over the services' public APIs; it holds no data of its own."""
