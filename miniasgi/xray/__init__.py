"""The x-ray: one request, seen whole, from the client's bytes to the model and back.

Wraps the server from outside, and is imported only when asked for: `miniasgi --xray`,
`miniasgi xray`. No line of the server knows it.
"""
