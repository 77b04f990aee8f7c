"""Chapter 18: what differs, and what is noise."""

from statistics import median

Fields = dict[bytes, list[bytes]]
FRAMING = (b"content-length", b"transfer-encoding")
VARIES = (b"date", b"server")


def parsed(response: bytes) -> tuple[bytes, Fields, bytes]:
    head, _, content = response.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    fields: Fields = {}
    for name, _, value in (field.partition(b":") for field in lines):
        fields.setdefault(name.lower(), []).append(value.strip())
    if fields.get(b"transfer-encoding") == [b"chunked"]:
        content = unchunked(content)
    return line.split(b" ")[1], fields, content


def unchunked(data: bytes) -> bytes:
    content = b""
    while True:
        line, _, data = data.partition(b"\r\n")
        if not (size := int(line.partition(b";")[0], 16)):
            return content
        content, data = content + data[:size], data[size + 2 :]


def differences(ours: bytes, theirs: bytes) -> set[str]:
    (status, fields, content), (other_status, other_fields, other_content) = parsed(ours), parsed(theirs)
    found = {
        name.decode("latin-1")
        for name in fields.keys() | other_fields.keys()
        if name not in FRAMING + VARIES and fields.get(name) != other_fields.get(name)
    }
    if status != other_status:
        found.add("status")
    if content != other_content:
        found.add("content")
    return found


def verdict(ours: list[float], theirs: list[float], again: list[float]) -> str:
    ratio = median(our / their for our, their in zip(ours, theirs, strict=True))
    itself = [one / other for one, other in zip(again, theirs, strict=True)]
    itself += [1 / each for each in itself]
    if min(itself) <= ratio <= max(itself):
        return "noise"
    return "less" if ratio < 1 else "more"
