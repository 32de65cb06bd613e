"""A collector of traces that reads what it gets with the code that OpenTelemetry's own definitions generate.

Prints its port, then each span as a line of JSON, in the mapping of OTLP/JSON: ids in hexadecimal, times as text.
"""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


def as_hex(span, key):
    if key in span:
        span[key] = base64.b64decode(span[key]).hex()


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request = ExportTraceServiceRequest.FromString(body)
        # What the definitions do not know would be kept aside and written last, and another order would show as well.
        same = request.SerializeToString() == body
        for resource_spans in request.resource_spans:
            resource = MessageToDict(resource_spans.resource)
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    told = MessageToDict(span)
                    for key in ("traceId", "spanId", "parentSpanId"):
                        as_hex(told, key)
                    told.update(resource=resource, scope=scope_spans.scope.name, same=same)
                    told.update(path=self.path, key=self.headers.get("x-key"))
                    print(json.dumps(told), flush=True)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
print(server.server_port, flush=True)
server.serve_forever()
