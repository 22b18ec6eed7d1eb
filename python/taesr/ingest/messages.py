"""Messages between this process and the one that parses: a JSON header and a block of bytes."""

import json
import socket
import struct
import time
from typing import Any

_SIZES = struct.Struct(">QQ")
_LARGEST = 1 << 30  # bytes of a part: a parser that was taken over must not fill the memory of this process


def send(connection: socket.socket, header: dict[str, Any], block: bytes) -> None:
    """Send one message."""
    head = json.dumps(header).encode()
    connection.sendall(_SIZES.pack(len(head), len(block)) + head)
    connection.sendall(block)


def receive(connection: socket.socket, deadline: float | None = None) -> tuple[dict[str, Any], bytearray]:
    """Receive one message.

    Raises
    ------
    TimeoutError
        When `deadline`, a value of `time.monotonic`, passes first.
    EOFError
        When the other side is gone, or sends what is no message.
    """
    head_size, block_size = _SIZES.unpack(_receive_exactly(connection, _SIZES.size, deadline))
    if head_size > _LARGEST or block_size > _LARGEST:
        raise EOFError("message too large")
    head = _receive_exactly(connection, head_size, deadline)
    block = _receive_exactly(connection, block_size, deadline)
    try:
        header = json.loads(head)
    except ValueError as error:
        raise EOFError("header is not JSON") from error
    if not isinstance(header, dict):
        raise EOFError("header is not an object")
    return header, block


def _receive_exactly(connection: socket.socket, size: int, deadline: float | None) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    received = 0
    while received < size:
        if deadline is not None:
            connection.settimeout(max(deadline - time.monotonic(), 1e-3))
        count = connection.recv_into(view[received:])
        if count == 0:
            raise EOFError("connection closed")
        received += count
    return data
