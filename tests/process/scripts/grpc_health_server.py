"""A gRPC server with the standard health service; prints its address.

Each line of its input is a service and its status, as in "shop.Cart NOT_SERVING", or "- SERVING" for the whole server, and is
answered by "set".
"""

import sys
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

servicer = health.HealthServicer()
server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
where = sys.argv[1]
port = server.add_insecure_port(where)
server.start()
print(where.replace(":0", f":{port}"), flush=True)
for line in sys.stdin:
    service, status = line.split()
    service = "" if service == "-" else service
    servicer.set(service, health_pb2.HealthCheckResponse.ServingStatus.Value(status))
    print("set", flush=True)
