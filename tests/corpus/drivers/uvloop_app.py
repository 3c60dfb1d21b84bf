"""The server of uvloop_server.py: it takes orders, one a line."""

import asyncio
import sys

import uvloop

leaks = sys.argv[1] == "leaking"
customers = []


async def take_orders(reader, writer):
    customers.append(writer)
    while await reader.readline():
        writer.write(b"taken\n")
    if not leaks:
        customers.remove(writer)
        writer.close()


async def main():
    server = await asyncio.start_server(take_orders, "127.0.0.1", 8080)
    await server.serve_forever()


uvloop.run(main())
