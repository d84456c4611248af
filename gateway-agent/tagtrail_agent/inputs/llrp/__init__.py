"""Our own client of the Low Level Reader Protocol (LLRP 1.0.1, as EPCglobal published it)."""
