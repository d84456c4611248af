"""Messages of other makers' gateways on the local broker: understood well enough to filter.

What carries adverts or plain readings becomes `Sound`s; what tells something else goes on to the
server unchanged, where every format has its reader (docs/gateways.md). Nothing here raises for any
content but `UnreadableError`.
"""
