"""Chapter 2: targets in absolute form, and fields that are lists."""


def origin_form(target: bytes) -> tuple[bytes | None, bytes]:
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return None, target
    # The host ends with the path, or with the query if there is no path (RFC 9110 4.2.1).
    end = min((rest.find(byte) for byte in b"/?" if byte in rest), default=len(rest))
    path = rest[end:]
    return rest[:end], path if path.startswith(b"/") else b"/" + path


def members(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    found = [member.strip() for key, value in headers if key == name.lower() for member in value.split(b",")]
    return [member for member in found if member]
