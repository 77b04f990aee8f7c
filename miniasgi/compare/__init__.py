"""Two servers, one app: the same requests to both, and what differs (`miniasgi compare`).

Wraps from outside: nothing in the server knows of it, and it knows servers by their command lines alone.
"""
