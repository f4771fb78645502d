"""A web proxy for tests: lets CONNECT through to anywhere, for whoever knows the password. Usage: PORT"""

import asyncio
import base64
import sys

WANTED = "Basic " + base64.b64encode(b"edge:secret").decode()


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, where, _ = head[0].split(" ")
    fields = dict(line.split(": ", 1) for line in head[1:] if line)
    if method != "CONNECT" or fields.get("Proxy-Authorization") != WANTED:
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        writer.close()
        return
    host, _, port = where.rpartition(":")
    there, onward = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    sys.stdout.write(f"{where}\n")
    sys.stdout.flush()
    await asyncio.gather(carry(reader, onward), carry(there, writer))


async def main() -> None:
    server = await asyncio.start_server(serve, "0.0.0.0", int(sys.argv[1]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.serve_forever()


asyncio.run(main())
