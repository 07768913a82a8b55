"""A WebSocket server as old applications run beside their pages: echoes every message.

The message `headers` is answered with the request headers as JSON, `target` with the request target,
`close CODE` by closing. Prints `listening on PORT` once it does; port 0 takes a free one.

    python websocket_server.py [PORT]
"""

import asyncio
import json
import sys

from websockets.asyncio.server import serve


async def talk(socket):
    async for message in socket:
        if message == "headers":
            await socket.send(json.dumps([list(pair) for pair in socket.request.headers.raw_items()]))
        elif message == "target":
            await socket.send(socket.request.path)
        elif isinstance(message, str) and message.startswith("close "):
            await socket.close(int(message.split()[1]), "as asked")
        else:
            await socket.send(message)


async def main(port):
    async with serve(talk, "127.0.0.1", port, max_size=64 * 1024 * 1024) as server:
        print("listening on", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
    except KeyboardInterrupt:
        pass
