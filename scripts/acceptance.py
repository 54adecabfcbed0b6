"""The full-size checks of scripts/acceptance that drive the real binary from outside. Standard library only."""

import argparse
import collections
import http.client
import http.server
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

MIB = 1024 * 1024
HOST = "127.0.0.1"
SHOP_TYPES = {"order.created": 3, "order.paid": 1}


def check(holds, what):
    print(("ok      " if holds else "FAILED  ") + what, flush=True)
    if not holds:
        sys.exit(1)


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


class Veltrix:
    """One running process over a config; its JSON log is read as it comes."""

    def __init__(self, binary, folder, config, stdin=subprocess.DEVNULL, level="info", kept=2000, text=None):
        config.setdefault("service", {}).setdefault("data_dir", str(folder / "data"))
        path = folder / ("config.yaml" if text else "config.json")
        path.write_text(text or json.dumps(config))
        command = [binary, "--log-format", "json", "--log-level", level, "run", "-c", str(path)]
        command += ["--allow-faults"] if "faults" in config else []
        self.kept = kept
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.log = []
        self.running = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            try:
                entry = json.loads(line)
            except ValueError:
                entry = {"fields": {"message": line.rstrip()}}
            self.log.append(entry.get("fields", entry))
            if self.log[-1].get("message") == "running":
                self.running.set()
            del self.log[: -self.kept]

    def wait_until_running(self):
        if not self.running.wait(10):
            self.process.kill()
            check(False, f"the process runs within 10 s: {self.log[-5:]}")

    def memory(self, field="VmRSS"):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        return 0

    def end(self, timeout=60):
        code = self.process.wait(timeout)
        self.reader.join()
        return code

    def stop(self, timeout=60):
        self.process.send_signal(signal.SIGTERM)
        return self.end(timeout)

    def summary(self, message, **keys):
        for entry in reversed(self.log):
            if entry.get("message") == message and all(entry.get(k) == v for k, v in keys.items()):
                return entry
        check(False, f"the log has `{message}` for {keys}: {self.log[-5:]}")


def event(number, event_type="order.created", **more):
    core = {"specversion": "1.0", "id": str(number), "source": "/acceptance", "type": event_type}
    return {**core, "data": {"amount": number}, **more}


def lines_of(path):
    with open(path, encoding="utf-8") as file:
        return [line.rstrip("\n") for line in file]


def demo(arguments, folder):
    config = pathlib.Path("config/veltrix.yaml").resolve()
    started = time.monotonic()
    process = subprocess.Popen(
        [arguments.veltrix, "run", "-c", str(config)],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )
    first = process.stdout.readline()
    elapsed = time.monotonic() - started
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    check(first.startswith(b"{"), f"the first result is an event: {first[:80]!r}")
    check(elapsed <= 1.0, f"it is on screen after {elapsed * 1000:.0f} ms (at most 1,000)")
    check(process.wait(30) == 0, "SIGTERM ends it with 0")


def matches(pattern, event_type):
    if pattern.endswith(">"):
        return event_type.startswith(pattern[:-1])
    if pattern.endswith("*"):
        head, _, last = event_type.rpartition(".")
        return head == pattern[:-2] and bool(last)
    return event_type == pattern


def github(arguments, folder):
    patterns = {
        "push": "com.github.push",
        "pull-requests": "com.github.pull_request.*",
        "issues": "com.github.issues.*",
        "comments": "com.github.issue_comment.*",
        "all": "com.github.>",
    }
    config = {
        "sources": {"input": {"type": "file", "path": str(arguments.events.resolve()), "follow": False}},
        "handlers": {name: {"on": [on], "type": "pass", "to": [name]} for name, on in patterns.items()},
        "sinks": {name: {"type": "file", "path": str(folder / f"{name}.ndjson")} for name in patterns},
    }
    veltrix = Veltrix(arguments.veltrix, folder, config)
    check(veltrix.end() == 0, "exit 0")
    check(veltrix.summary("summary")["balanced"] is True, "the ledger balances")
    lines = [(json.loads(line)["type"], line) for line in lines_of(arguments.events)]
    for name, on in patterns.items():
        expected = collections.Counter(line for event_type, line in lines if matches(on, event_type))
        found = collections.Counter(lines_of(folder / f"{name}.ndjson"))
        check(found == expected, f"{on}: {sum(expected.values())} events, byte for byte")
    config["handlers"]["issues"]["on"] = ["com.github.issue*"]
    (folder / "bad.json").write_text(json.dumps(config))
    refused = subprocess.run(
        [arguments.veltrix, "validate", "-c", str(folder / "bad.json")], capture_output=True, text=True
    )
    check(refused.returncode == 78 and "*" in refused.stdout, f"`com.github.issue*` is refused: {refused.stdout.strip()}")


def drain(arguments, folder):
    for run in range(1, arguments.runs + 1):
        here = folder / str(run)
        here.mkdir()
        out = here / "out.ndjson"
        config = {
            "service": {"drain_timeout": "10s"},
            "sources": {"load": {"type": "generate", "rate": "max", "seed": run, "types": SHOP_TYPES}},
            "handlers": {"pass": {"on": ["order.>"], "type": "pass", "to": ["out"], "lanes": 2}},
            "sinks": {"out": {"type": "file", "path": str(out)}},
        }
        veltrix = Veltrix(arguments.veltrix, here, config)
        veltrix.wait_until_running()
        time.sleep(random.Random(run).uniform(0.05, 0.6))
        begin = time.monotonic()
        code = veltrix.stop()
        took = time.monotonic() - begin
        accepted = veltrix.summary("summary")["accepted"]
        ids = [json.loads(line)["id"] for line in lines_of(out)]
        exact = len(ids) == accepted and len(set(ids)) == accepted and accepted > 0
        check(code == 0 and exact and took <= 10, f"run {run}: exit {code}, {accepted} accepted, {len(ids)} delivered, {took:.2f} s")
        out.unlink()


class OneASecond(http.server.BaseHTTPRequestHandler):
    """Answers one event a second, whoever asks."""

    protocol_version = "HTTP/1.1"
    turn = threading.Lock()

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        with self.turn:
            time.sleep(1)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def capacity(arguments, folder):
    """Events a second that one generator gets through the process at full speed."""
    config = {
        "sources": {"load": {"type": "generate", "rate": "max", "count": 2_000_000, "types": SHOP_TYPES}},
        "handlers": {"pass": {"on": ["order.>"], "type": "pass", "to": ["out"]}},
        "sinks": {"out": {"type": "blackhole"}},
    }
    veltrix = Veltrix(arguments.veltrix, folder, config)
    check(veltrix.end(300) == 0, "the machine's capacity is measured")
    return 2_000_000 / (time.monotonic() - veltrix.started)


def backpressure(arguments, folder):
    rate = int(capacity(arguments, folder) / 2)
    server = http.server.ThreadingHTTPServer((HOST, 0), OneASecond)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    load = {"type": "generate", "rate": rate}
    config = {
        "service": {"drain_timeout": "2s"},
        "sources": {"blocked": {**load, "types": {"slow.event": 1}}, "free": {**load, "types": {"fast.event": 1}}},
        "handlers": {
            "slow": {"on": ["slow.event"], "type": "pass", "to": ["receiver"]},
            "fast": {"on": ["fast.event"], "type": "pass", "to": ["out"]},
        },
        "sinks": {
            "receiver": {"type": "http", "url": f"http://{HOST}:{server.server_port}/", "concurrency": 1},
            "out": {"type": "blackhole"},
        },
    }
    veltrix = Veltrix(arguments.veltrix, folder, config)
    veltrix.wait_until_running()
    begin, memory = time.monotonic(), []
    while time.monotonic() - begin < arguments.seconds:
        time.sleep(0.5)
        memory.append(veltrix.memory())
    elapsed = time.monotonic() - begin
    veltrix.stop()
    blocked = veltrix.summary("source summary", source="blocked")["accepted"]
    delivered = veltrix.summary("sink summary", sink="out")["delivered"]
    half = len(memory) // 2
    growth = max(memory[half:]) - max(memory[:half])
    share = delivered / (rate * elapsed)
    check(max(memory) < 128 * MIB, f"memory stays below 128 MiB: {max(memory) / MIB:.1f}")
    check(growth <= 4 * MIB, f"memory is flat: {growth / MIB:.1f} MiB more in the second half")
    check(blocked < rate * elapsed / 4, f"the blocked source waits: {blocked} of {rate * elapsed:.0f} offered")
    check(share >= 0.95, f"the other pipeline keeps {share:.1%} of {rate}/s")


def post(port, body, content_type="application/cloudevents+json"):
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request("POST", "/events", body, {"content-type": content_type})
        response = connection.getresponse()
        return response.status, response.read()
    except (BrokenPipeError, ConnectionResetError):
        return 0, b"the connection was closed"
    finally:
        connection.close()


def bad_events():
    """(name, one line's bytes, the HTTP answers that are right for it)"""
    good = event(0)
    without = lambda key: json.dumps({k: v for k, v in good.items() if k != key}).encode()
    return [
        ("not JSON", b"hello", {400}),
        ("no id", without("id"), {400}),
        ("no type", without("type"), {400}),
        ("no source", without("source"), {400}),
        ("wrong specversion", json.dumps({**good, "specversion": "0.3"}).encode(), {400}),
        ("invalid UTF-8", json.dumps(good).encode().replace(b"/acceptance", b"/\xff\xfe"), {400}),
        ("10 MB attribute", json.dumps({**good, "big": "x" * 10_000_000}).encode(), {0, 400, 413}),
        ("depth bomb", json.dumps(good).encode()[:-1] + b',"deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}", {400}),
    ]


def send_lines(port, chunks):
    with socket.create_connection((HOST, port)) as peer:
        try:
            for chunk in chunks:
                peer.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            return


def gigabyte_line():
    for _ in range(1024):
        yield b"x" * MIB


def hostile(arguments, folder):
    http_port, tcp_port = free_port(), free_port()
    bad = bad_events()
    file = folder / "in.ndjson"
    file.write_bytes(b"".join(line + b"\n" for _, line, _ in bad) + json.dumps(event("file")).encode() + b"\n")
    config = {
        "sources": {
            "web": {"type": "http", "listen": f"{HOST}:{http_port}"},
            "feed": {"type": "tcp", "listen": f"{HOST}:{tcp_port}"},
            "lines": {"type": "stdin"},
            "files": {"type": "file", "path": str(file), "follow": True},
        },
        "handlers": {"all": {"on": [">"], "type": "pass", "to": ["out"]}},
        "sinks": {"out": {"type": "file", "path": str(folder / "out.ndjson")}},
    }
    veltrix = Veltrix(arguments.veltrix, folder, config, stdin=subprocess.PIPE)
    veltrix.wait_until_running()
    for name, line, answers in bad:
        status, body = post(http_port, line)
        problem = status == 0 or body.lstrip().startswith(b"{")
        check(status in answers and problem, f"http, {name}: {status} {body[:120].decode(errors='replace')}")
    batch = b"[" + json.dumps(event(1)).encode() + b"," + bad[1][1] + b"]"
    status, _ = post(http_port, batch, "application/cloudevents-batch+json")
    check(status == 400, f"http, batch with one bad item: {status}")
    send_lines(tcp_port, [line + b"\n" for _, line, _ in bad] + [json.dumps(event("tcp")).encode() + b"\n"])
    send_lines(tcp_port, gigabyte_line())
    types = (json.dumps(event(f"t{n}", f"many.t{n}")).encode() + b"\n" for n in range(100_000))
    send_lines(tcp_port, types)
    for _, line, _ in bad:
        os.write(veltrix.process.stdin.fileno(), line + b"\n") if len(line) < 60_000 else None
    os.write(veltrix.process.stdin.fileno(), json.dumps(event("stdin")).encode() + b"\n")
    status, _ = post(http_port, json.dumps(event("http")).encode())
    check(status == 202, f"http, a good event after all of it: {status}")
    time.sleep(2)
    peak = veltrix.memory("VmHWM") / MIB
    check(veltrix.process.poll() is None, f"the process is unharmed; it took {peak:.0f} MiB at most")
    check(veltrix.stop() == 0, "SIGTERM ends it with 0")
    ids = [json.loads(line)["id"] for line in lines_of(folder / "out.ndjson")]
    counts = collections.Counter(ids)
    for name in ["file", "tcp", "stdin", "http"]:
        check(counts[name] == 1, f"the good event of {name} is delivered once")
    many = sum(1 for each in ids if each.startswith("t") and each != "tcp")
    check(many == 100_000, f"100,000 distinct types: {many} events delivered")
    for source in ["web", "feed", "lines", "files"]:
        rejected = veltrix.summary("source summary", source=source)["rejected"]
        check(rejected > 0, f"{source} counted {rejected} rejected events")


def cloudevents(arguments, folder):
    from cloudevents.conversion import to_binary, to_structured
    from cloudevents.http import CloudEvent

    port = free_port()
    config = {
        "sources": {"web": {"type": "http", "listen": f"{HOST}:{port}"}},
        "handlers": {"all": {"on": [">"], "type": "pass", "to": ["out"]}},
        "sinks": {"out": {"type": "file", "path": str(folder / "out.ndjson")}},
    }
    veltrix = Veltrix(arguments.veltrix, folder, config)
    veltrix.wait_until_running()
    sent = {}
    for mode, convert in [("binary", to_binary), ("structured", to_structured)]:
        # The client writes header values as they are, so what needs encoding there goes by the JSON format only.
        text = "äöü €" if mode == "structured" else "a b/c"
        attributes = {
            "type": "com.example.object", "source": "/client", "id": f"{mode} 1", "subject": text,
            "datacontenttype": "application/json", "myextension": "value",
        }
        sent[mode] = CloudEvent(attributes, {"text": "grüße", "number": 9.99, "nested": [1, None, True]})
        headers, body = convert(sent[mode])
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        connection.request("POST", "/events", body, headers)
        check(connection.getresponse().status == 202, f"{mode}: 202")
    check(veltrix.stop() == 0, "SIGTERM ends it with 0")
    arrived = {each["id"]: each for each in map(json.loads, lines_of(folder / "out.ndjson"))}
    for mode, original in sent.items():
        found = arrived.get(original["id"], {})
        expected = {**original.get_attributes(), "data": original.data}
        differing = {key: (found.get(key), value) for key, value in expected.items() if found.get(key) != value}
        check(not differing, f"{mode}: arrives as sent {differing or ''}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--veltrix", required=True, type=lambda text: str(pathlib.Path(text).resolve()))
    names = parser.add_subparsers(dest="name", required=True)
    for function in [demo, cloudevents, hostile]:
        names.add_parser(function.__name__).set_defaults(run=function)
    sub = names.add_parser("github")
    sub.add_argument("--events", required=True, type=pathlib.Path)
    sub.set_defaults(run=github)
    sub = names.add_parser("drain")
    sub.add_argument("--runs", type=int, default=50)
    sub.set_defaults(run=drain)
    sub = names.add_parser("backpressure")
    sub.add_argument("--seconds", type=float, default=60)
    sub.set_defaults(run=backpressure)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arguments.run(arguments, pathlib.Path(folder))


if __name__ == "__main__":
    main()
