"""Calls the methods of grpc_server.py at the address given: one call a line of its input, and a line for what came of it."""

import sys

import grpc


def text(bytes_):
    return bytes_.decode()


def plain(text_):
    return text_.encode()


channel = grpc.insecure_channel(sys.argv[1], options=(("grpc.enable_http_proxy", 0),))


def method(kind, name):
    return getattr(channel, kind)(f"/test.Echo/{name}", plain, text)


def call(word, rest):
    if word == "unary":
        answer, made = method("unary_unary", "Unary").with_call(rest, timeout=60)
        trailers = dict(made.trailing_metadata())
        return f"{answer} {trailers['x-sum']}"
    if word == "large":
        answer = method("unary_unary", "Unary")("x" * 3_000_000, timeout=60)
        return str(len(answer))
    if word == "fail":
        return method("unary_unary", "Fail")(rest, timeout=60)
    if word == "missing":
        return method("unary_unary", "Missing")(rest, timeout=60)
    if word == "count":
        return " ".join(method("unary_stream", "Count")(rest, timeout=60))
    if word == "collect":
        return method("stream_unary", "Collect")(iter(rest.split()), timeout=60)
    if word == "echo":
        return ", ".join(method("stream_stream", "Echo")(iter(rest.split()), timeout=60))
    if word == "deadline":
        return method("unary_unary", "Wait")("", timeout=float(rest))
    if word == "begin":
        global waiting
        waiting = method("unary_unary", "Wait").future("", timeout=60)
        return "begun"
    if word == "cancel":
        waiting.cancel()
        return str(waiting.cancelled())
    return "what?"


for line in sys.stdin:
    word, _, rest = line.rstrip("\n").partition(" ")
    try:
        print(call(word, rest), flush=True)
    except grpc.RpcError as error:
        print(f"{error.code().name}: {error.details()}", flush=True)
