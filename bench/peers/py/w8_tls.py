"""W8t: a TLS echo server.  PORT CERT KEY [uvloop]"""
import asyncio
import ssl
import sys

PORT, CERT, KEY = int(sys.argv[1]), sys.argv[2], sys.argv[3]


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERT, KEY)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", PORT, ssl=context)
    await server.serve_forever()


if "uvloop" in sys.argv[4:]:
    import uvloop
    uvloop.install()
asyncio.run(main())
