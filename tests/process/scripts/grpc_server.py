"""A gRPC server of the method /test.Echo/*, with messages that are plain text; prints its address.

Each call says what it saw of itself: the line "cancelled" is printed when the client of a call to Wait has given it up.
"""

import sys
import threading
from concurrent import futures

import grpc

NAME = sys.argv[1]


def unary(request, context):
    context.set_trailing_metadata((("x-sum", str(len(request))),))
    return f"{NAME} {request}"


def fail(request, context):
    context.abort(getattr(grpc.StatusCode, request), f"{NAME} says {request}")


def wait(request, context):
    given_up = threading.Event()
    context.add_callback(given_up.set)
    print("waiting", flush=True)
    given_up.wait(60)
    print("cancelled", flush=True)
    return "late"


def count(request, context):
    for number in range(int(request)):
        yield str(number)


def collect(requests, context):
    return " ".join(requests)


def echo(requests, context):
    for request in requests:
        yield f"{NAME} {request}"


def text(bytes_):
    return bytes_.decode()


def plain(text_):
    return text_.encode()


KINDS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary, text, plain),
    "Fail": grpc.unary_unary_rpc_method_handler(fail, text, plain),
    "Wait": grpc.unary_unary_rpc_method_handler(wait, text, plain),
    "Count": grpc.unary_stream_rpc_method_handler(count, text, plain),
    "Collect": grpc.stream_unary_rpc_method_handler(collect, text, plain),
    "Echo": grpc.stream_stream_rpc_method_handler(echo, text, plain),
}
server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", KINDS),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"127.0.0.1:{port}", flush=True)
sys.stdin.read()
