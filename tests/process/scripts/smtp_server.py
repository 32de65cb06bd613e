"""A mail server: says its port, then each message as a line of JSON.

Arguments: how it is spoken to (plain, starttls, tls), and a file with its certificate and key.
"""

import asyncio
import email
import email.policy
import json
import logging
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

# A handshake that fails is what a test wants to see at the other end.
logging.disable(logging.CRITICAL)

HOW, *FILES = sys.argv[1].split(",")


class Handler:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        told = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "subject": message["subject"],
            "text": message.get_content(),
            "encrypted": session.ssl is not None or HOW == "tls",
            "login": session.auth_data,
        }
        print(json.dumps(told), flush=True)
        return "250 taken"


def log_in(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and data == LoginPassword(b"tidegate", b"let-me-in")
    return AuthResult(success=good, auth_data="tidegate")


async def main():
    context = None
    if FILES:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(FILES[0])
    starttls = HOW == "starttls"

    def connection():
        return SMTP(
            Handler(),
            tls_context=context if starttls else None,
            require_starttls=starttls,
            authenticator=log_in if starttls else None,
            auth_required=starttls,
        )

    server = await asyncio.get_running_loop().create_server(
        connection, "127.0.0.1", 0, ssl=context if HOW == "tls" else None
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
