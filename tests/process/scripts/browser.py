"""A real browser, Chromium without a window, steered over its own protocol by lines of JSON.

The argument is a folder: `ca.pem` there is the one authority that the browser trusts beside its own, and the profile is made
there. Each line is a list: ["open", URL], ["reload"], ["run", JAVASCRIPT] (its promise is awaited, its value printed) or
["quit"]. Each answer is a line of JSON; {"error": ...} where something went wrong.
"""

import json
import os
import subprocess
import sys

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost",
    "--remote-debugging-pipe",
]


class Browser:
    """The browser ends with this process: its pipe closes."""

    def __init__(self, folder):
        home = os.path.join(folder, "browser")
        trusted = os.path.join(home, ".pki/nssdb")
        os.makedirs(trusted)
        for arguments in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "test", "-i", f"{folder}/ca.pem"]):
            subprocess.run(["certutil", "-d", f"sql:{trusted}", *arguments], check=True)
        command_read, self.write_end = os.pipe()
        self.read_end, answer_write = os.pipe()

        def descriptors():
            # The browser's protocol is on 3 and 4. First out of the way of each other.
            high = [os.dup2(command_read, 100), os.dup2(answer_write, 101)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            ["chromium", *FLAGS, f"--user-data-dir={home}/profile", "about:blank"],
            env={**os.environ, "HOME": home},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=open(os.path.join(home, "log"), "w"),
            preexec_fn=descriptors,
            pass_fds=(3, 4),
        )
        os.close(command_read)
        os.close(answer_write)
        self.buffer = b""
        self.number = 0
        self.session = None
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        self.call("Page.enable")

    def receive(self):
        while b"\0" not in self.buffer:
            data = os.read(self.read_end, 65536)
            if not data:
                raise EOFError("the browser has ended")
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def begin(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        return self.number

    def call(self, method, **parameters):
        number = self.begin(method, **parameters)
        while (message := self.receive()).get("id") != number:
            pass
        if "error" in message:
            raise RuntimeError(message["error"]["message"])
        return message["result"]

    def load(self, method, **parameters):
        """Navigates, and waits until the page has loaded."""
        number = self.begin(method, **parameters)
        is_loaded = is_answered = False
        while not (is_loaded and is_answered):
            message = self.receive()
            if message.get("id") == number:
                is_answered = True
                failed = message.get("error", {}).get("message") or message["result"].get("errorText")
                if failed:
                    raise RuntimeError(failed)
            is_loaded = is_loaded or message.get("method") == "Page.loadEventFired"
        return True

    def run(self, script):
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"]))
        return result["result"].get("value")

    def quit(self):
        self.session = None
        self.begin("Browser.close")
        self.process.wait(timeout=60)
        return True


browser = Browser(sys.argv[1])
print("ready", flush=True)
ACTIONS = {
    "open": lambda url: browser.load("Page.navigate", url=url),
    "reload": lambda: browser.load("Page.reload"),
    "run": browser.run,
    "quit": browser.quit,
}
for line in sys.stdin:
    action, *arguments = json.loads(line)
    try:
        answer = ACTIONS[action](*arguments)
    except RuntimeError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
