"""What ws_client.py does, over HTTP/2: an extended CONNECT (RFC 8441) by the library h2, frames by wsproto.

The first argument is a URL; `wss` has HTTP/2 agreed by ALPN, `ws` begins with it. One thread and one socket: it reads while
it waits for something.
"""

import os
import socket
import ssl
import sys
from urllib.parse import urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, TextMessage

LARGE = 8 * 1024 * 1024


class WebSocket:
    """A WebSocket on the first stream of a connection of its own."""

    def __init__(self, url):
        url = urlsplit(url)
        self.socket = socket.create_connection((url.hostname, url.port), timeout=60)
        if url.scheme == "wss":
            context = ssl.create_default_context()
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket, server_hostname=url.hostname)
            assert self.socket.selected_alpn_protocol() == "h2"
        self.http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.frames = Connection(ConnectionType.CLIENT)
        self.may_connect = self.ended = False
        self.status = None
        self.messages = []
        self.parts = []
        self.close_code = None
        self.http.initiate_connection()
        self.flush()
        self.wait(lambda: self.may_connect)
        self.http.send_headers(
            1,
            [
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "https" if url.scheme == "wss" else "http"),
                (":path", url.path),
                (":authority", url.netloc),
                ("sec-websocket-version", "13"),
                ("origin", "http://test"),
            ],
        )
        self.flush()
        self.wait(lambda: self.status is not None)
        assert self.status == "200", self.status

    def flush(self):
        self.socket.sendall(self.http.data_to_send())

    def wait(self, is_done):
        while not is_done():
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the connection has ended")
            for event in self.http.receive_data(data):
                self.take(event)
            self.flush()

    def take(self, event):
        if isinstance(event, RemoteSettingsChanged):
            setting = event.changed_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL)
            self.may_connect = self.may_connect or (setting is not None and setting.new_value == 1)
        elif isinstance(event, ResponseReceived):
            self.status = dict(event.headers)[":status"]
        elif isinstance(event, DataReceived):
            self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if event.data:
                self.frames.receive_data(event.data)
            for message in self.frames.events():
                self.take_message(message)
        elif isinstance(event, (StreamEnded, StreamReset)):
            self.ended = True

    def take_message(self, message):
        if isinstance(message, CloseConnection):
            self.close_code = message.code
        elif isinstance(message, (TextMessage, BytesMessage)):
            self.parts.append(message.data)
            if message.message_finished:
                self.messages.append(type(message.data)().join(self.parts))
                self.parts = []

    def send(self, message):
        data = memoryview(self.frames.send(message))
        while data:
            self.wait(lambda: self.http.local_flow_control_window(1) > 0)
            room = min(self.http.local_flow_control_window(1), self.http.max_outbound_frame_size)
            self.http.send_data(1, bytes(data[:room]))
            self.flush()
            data = data[room:]

    def receive(self):
        self.wait(lambda: self.messages)
        return self.messages.pop(0)


connection = WebSocket(sys.argv[1])
print("open", flush=True)
for line in sys.stdin:
    line = line.rstrip("\n")
    if line == "close":
        break
    if line == "big":
        data = os.urandom(LARGE)
        connection.send(BytesMessage(data=data))
        back = connection.receive()
        print(len(back) if back == data else "differs", flush=True)
    else:
        connection.send(TextMessage(data=line))
        print(connection.receive(), flush=True)
connection.send(CloseConnection(code=1000))
connection.wait(lambda: connection.close_code is not None)
connection.http.end_stream(1)
connection.flush()
connection.wait(lambda: connection.ended)
print(f"closed {connection.close_code}", flush=True)
