"""Sources of adverts and readings: radios, readers, a local broker, phones, files.

Each is a class with `name`, `counts` (what it met, by reason) and `run(ear)`; its constructor takes
its options, the clock and a name. None keeps anything on disk.
"""
