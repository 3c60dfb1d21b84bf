"""gRPC: streams that go on, streams that clients cancel, and channels that are closed."""

import concurrent.futures
import time

import grpc

import incident

WATCH = "/shop.Orders/Watch"


def serve_for_ever():
    def watch(request, context):
        while context.is_active():
            yield b"order"
            time.sleep(0.05)

    handler = grpc.method_handlers_generic_handler("shop.Orders", {"Watch": grpc.unary_stream_rpc_method_handler(watch)})
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(20))
    server.add_generic_rpc_handlers([handler])
    server.add_insecure_port("127.0.0.1:50051")
    server.start()
    server.wait_for_termination()


incident.apart(serve_for_ever)
incident.listens(50051)
rounds = []


def watch(orders, leave):
    with grpc.insecure_channel("127.0.0.1:50051", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stream = channel.unary_stream(WATCH)(b"")
        for count, order in enumerate(stream):
            assert order == b"order"
            if count == orders:
                break
        if leave:
            stream.cancel()


def watch_again_and_again():
    while True:
        watch(10, True)
        rounds.append(1)


for _ in range(3):
    incident.background(watch_again_and_again)
incident.background(watch, 10**9, False)
incident.until("some have been cancelled", lambda: len(rounds) >= 10)
incident.done()
