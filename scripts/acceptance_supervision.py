"""The full-size checks of scripts/acceptance for supervision and faults: what breaks by plan, and what must not. Standard library only."""

import argparse
import collections
import datetime
import http.server
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from acceptance import HOST, SHOP_TYPES, Veltrix, capacity, event, free_port, lines_of

FAILED = []
RETRY_SOON = {"backoff": {"min": "1ms", "max": "10ms"}}
MANY_RESTARTS = {**RETRY_SOON, "max_restarts": 1_000_000}


def check(holds, what):
    """Prints the figure; unlike in acceptance.py the others are still taken when one does not hold."""
    print(("ok      " if holds else "FAILED  ") + what, flush=True)
    if not holds:
        FAILED.append(what)


def note(what):
    print("        " + what, flush=True)


def at(entry):
    return datetime.datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00")).timestamp()


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def entries(veltrix, message, **keys):
    return [
        entry for entry in veltrix.log
        if entry.get("message") == message and all(entry.get(key) == value for key, value in keys.items())
    ]


class Receiver:
    """An HTTP receiver that keeps each request's body as it came; it can be closed, and opened again on the same port."""

    def __init__(self, port=None):
        self.port, self.bodies, self.lock, self.server = port or free_port(), [], threading.Lock(), None
        self.first = None

    def open(self):
        receiver = self

        class Keep(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                with receiver.lock:
                    receiver.first = receiver.first or time.time()
                    receiver.bodies.append(body)
                self.wfile.write(b"HTTP/1.1 204 No Content\r\n\r\n")

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

            def handle_error(self, *_):
                pass  # a sender that died, or a receiver that was closed, by plan

        self.server = Server((HOST, self.port), Keep)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def events(self):
        return [each for body in self.bodies for each in json.loads(body)]

    def sink(self, **more):
        batch = {"events": 1024, "bytes": "1MiB"}
        return {"type": "http", "url": f"http://{HOST}:{self.port}/", "mode": "batched", "batch": batch, **more}


def file_events(path):
    return map(json.loads, lines_of(path))


def orders(events, prefix=""):
    """Each key's order numbers as they arrived; generated events count up."""
    by_key = collections.defaultdict(list)
    for each in events:
        if each["id"].startswith(prefix):
            by_key[each["subject"]].append(int(each["id"].rpartition("-")[2]))
    return by_key


def check_arrivals(where, events, expected, prefix="load-", duplicates_at_most=0, in_order=True):
    """Nothing lost, nothing twice beyond what is allowed, and in order per key; returns how many came twice."""
    by_key = orders(events, prefix)
    arrived = collections.Counter(number for numbers in by_key.values() for number in numbers)
    lost = [number for number in expected if number not in arrived]
    strange = len(arrived) - (len(expected) - len(lost))
    twice = sum(arrived.values()) - len(arrived)
    check(not lost and not strange, f"{where}: {len(lost)} of {len(expected):,} lost {lost[:5] or ''}")
    check(twice <= duplicates_at_most, f"{where}: {twice} duplicates (at most {duplicates_at_most})")
    late = 0
    for numbers in by_key.values():
        # What comes again after an actor's death comes out of turn; the first arrivals must be in order.
        seen, highest = set(), 0
        for number in numbers:
            late += number not in seen and number < highest
            seen.add(number)
            highest = max(highest, number)
    if in_order:
        check(late == 0, f"{where}: {late} out of order per key, {len(by_key)} keys")
    return twice


def faults_of(path):
    return [json.loads(line) for line in lines_of(path)]


def finish(veltrix, timeout=600):
    code = veltrix.end(timeout)
    summary = veltrix.summary("summary")
    check(code == 0 and summary["balanced"], f"exit {code}, the ledger: {shown(summary)}")
    return summary


def shown(summary):
    keys = ["accepted", "delivered", "dead_lettered", "dropped", "balanced"]
    return " ".join(f"{key}={summary[key]}" for key in keys)


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def delivered(port, sink):
    text = f'veltrix_sink_delivered_total{{sink="{sink}"}}'
    for line in get(port, "/metrics")[1].splitlines():
        if line.startswith(text):
            return int(float(line.split()[-1]))
    return 0


def wait_for(what, condition, seconds=300):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            check(False, f"{what} within {seconds} s")
            return False
        time.sleep(0.01)
    return True


# 1 -------------------------------------------------------------------------------------------------------------------


def panics(arguments, folder):
    panics_exact(arguments, folder / "exact")
    panics_rebuild(arguments, folder / "rebuild")
    panics_neighbour(arguments, folder)


def panicking(folder, receiver, count, times, rate="max"):
    types = {"order.created": 3, "order.paid": 1}
    config = {
        "sources": {"load": {"type": "generate", "rate": rate, "count": count, "types": types}},
        "handlers": {"work": {
            "on": "order.>", "type": "map", "set": {"data.total": "data.price * data.quantity"},
            "to": ["web", "file"], "lanes": 4,
        }},
        "sinks": {"web": receiver.sink(), "file": {"type": "file", "path": str(folder / "out.ndjson")}},
    }
    if times:
        # A little more likely than needed, and cut at the number.
        inject = {"at": "handler.work", "panic": min(1.0, times / count * 1.05), "times": times}
        config["faults"] = {"seed": 3, "log": str(folder / "faults.ndjson"), "inject": [inject]}
    return config


def panics_exact(arguments, folder):
    folder.mkdir()
    count, times = arguments.events, arguments.events // 10
    receiver = Receiver().open()
    veltrix = Veltrix(arguments.veltrix, folder, panicking(folder, receiver, count, times))
    finish(veltrix)
    took = time.monotonic() - veltrix.started
    handler = veltrix.summary("handler summary", handler="work")
    log = faults_of(folder / "faults.ndjson")
    check(len(log) == times == handler["errors"], f"{len(log):,} panics in {count:,} events ({handler['errors']:,} failed attempts), {took:.1f} s")
    for where, events in [("http", receiver.events()), ("file", list(file_events(folder / "out.ndjson")))]:
        check_arrivals(where, events, range(1, count + 1))


def panics_rebuild(arguments, folder):
    """No metric tells it, so each event panics twice in a row: from one `is built anew` of the log to the next lie the old handler's
    drop, the factory, the next attempt, its unwinding and the log lines themselves, which is more than the rebuild."""
    folder.mkdir()
    count = arguments.events // 20
    receiver = Receiver().open()
    config = panicking(folder, receiver, count, 0)
    config["handlers"]["work"]["supervision"] = {"backoff": {"min": "1ms", "max": "1ms"}}
    config["faults"] = {"inject": [{"at": "handler.work", "panic": True}, {"at": "handler.work", "panic": True}]}
    veltrix = Veltrix(arguments.veltrix, folder, config, level="debug", kept=10_000_000)
    finish(veltrix)
    by_lane = collections.defaultdict(list)
    for entry in entries(veltrix, "the handler is built anew", handler="work"):
        by_lane[entry["lane"]].append(at(entry))
    spans = [then - first for times in by_lane.values() for first, then in zip(times[::2], times[1::2])]
    check(len(spans) == count, f"{2 * len(spans):,} rebuilds in the log")
    micro = [f"{percentile(spans, share) * 1e6:.0f} us p{100 * share:g}" for share in (0.5, 0.9, 0.99, 0.999)]
    check(percentile(spans, 0.99) <= 0.001, f"a rebuild with the attempt after it: {', '.join(micro)}, {max(spans) * 1e6:.0f} us at most (p99 at most 1,000)")


def panics_neighbour(arguments, folder):
    half = int(capacity(arguments, new(folder, "capacity")) / 2)
    note(f"half the machine's capacity: {half:,} events/s")
    shares = {}
    for name, times in [("without faults", 0), ("with panics", arguments.events // 10)] * (arguments.runs or 3):
        here = new(folder, f"{name} {len(shares.get(name, []))}")
        receiver = Receiver().open()
        config = panicking(here, receiver, arguments.events, times, rate=arguments.events // 20)
        config["sources"]["idle"] = {"type": "tcp", "listen": f"{HOST}:{free_port()}"}
        config["sources"]["neighbour"] = {"type": "generate", "rate": half, "types": {"other.event": 1}}
        config["handlers"]["other"] = {"on": "other.event", "type": "pass", "to": "none"}
        config["sinks"]["none"] = {"type": "blackhole"}
        config["service"] = {"admin": {"listen": f"{HOST}:{free_port()}"}}
        port = int(config["service"]["admin"]["listen"].rpartition(":")[2])
        veltrix = Veltrix(arguments.veltrix, here, config)
        veltrix.wait_until_running()
        before, begin = delivered(port, "none"), time.monotonic()
        if wait_for("the panicking pipeline ends", lambda: delivered(port, "file") == arguments.events):
            share = (delivered(port, "none") - before) / (half * (time.monotonic() - begin))
            note(f"{name}: the neighbour keeps {share:.1%} over {time.monotonic() - begin:.0f} s")
            shares.setdefault(name, []).append(share)
        veltrix.stop()
        del receiver
    with_panics, without = (statistics.median(shares[name]) for name in ["with panics", "without faults"])
    check(with_panics >= 0.95, f"the neighbour keeps {with_panics:.1%} of {half:,}/s beside {arguments.events // 20:,}/s of which each tenth panics ({without:.1%} beside it without faults)")


def new(folder, name):
    path = folder / name
    path.mkdir()
    return path


# 2 -------------------------------------------------------------------------------------------------------------------


def deaths_and_hangs(arguments, folder):
    hangs_seen(arguments, new(folder, "hangs"))
    hangs_again(arguments, new(folder, "again"))
    deaths(arguments, new(folder, "deaths"))


def dying(folder, receiver, rate, count, inject):
    return {
        "service": {"drain_timeout": "60s", "admin": {"listen": f"{HOST}:{free_port()}"}},
        "supervision": MANY_RESTARTS,
        "sources": {
            "load": {"type": "generate", "rate": rate, "count": count},
            "idle": {"type": "tcp", "listen": f"{HOST}:{free_port()}"},
        },
        "handlers": {"work": {
            "on": "order.>", "type": "pass", "to": ["web", "file"], "lanes": 4,
            "supervision": {"attempts": 5, "deadline": "1s"},
        }},
        "sinks": {"web": receiver.sink(), "file": {"type": "file", "path": str(folder / "out.ndjson")}},
        "faults": {"seed": 5, "log": str(folder / "faults.ndjson"), "inject": inject},
    }


def recover(arguments, folder, config, count, level="info"):
    """Runs until all are delivered and the threads that hung are gone again."""
    port = int(config["service"]["admin"]["listen"].rpartition(":")[2])
    veltrix = Veltrix(arguments.veltrix, folder, config, level=level, kept=10_000_000)
    veltrix.wait_until_running()
    threads = lambda: len(os.listdir(f"/proc/{veltrix.process.pid}/task"))
    # Where a handler has blocked its thread, its neighbours keep the thread they went on with: in the end each lane may have its own.
    at_start, most, extra = threads(), 0, config["handlers"]["work"]["lanes"] - 1

    def settled():
        nonlocal most
        most = max(most, threads())
        return all(delivered(port, sink) >= count for sink in config["sinks"]) and threads() <= at_start + extra

    wait_for("all are delivered and all threads that hung gone", settled, count / config["sources"]["load"]["rate"] + 30)
    note(f"threads: {at_start} at the start, {most} at most, {threads()} in the end; memory {veltrix.memory() / 2**20:.0f} MiB, {veltrix.memory('VmHWM') / 2**20:.0f} at most")
    veltrix.process.send_signal(signal.SIGTERM)
    return veltrix, finish(veltrix)


def hangs_seen(arguments, folder):
    """Hangs alone, so that each is a line of the log and its time known."""
    hangs, receiver = arguments.hangs, Receiver().open()
    rate, count = 5_000, 5_000 * max(1, hangs * 2 // 5)
    inject = [{"at": "handler.work", "hang": "5s", "probability": hangs * 2 / count, "times": hangs}]
    config = dying(folder, receiver, rate, count, inject)
    veltrix, _ = recover(arguments, folder, config, count, level="debug")
    struck = {}
    spans, unexpected = [], 0
    for entry in veltrix.log:
        if entry.get("message") == "injected a fault":
            struck[entry["lane"]] = at(entry)
        if entry.get("message") == "a handler hangs, its lane goes on without it":
            began = struck.pop(entry["lane"], None)
            unexpected += began is None
            spans += [at(entry) - began] if began else []
    check(len(spans) == hangs and not unexpected, f"{len(spans)} of {hangs} hangs were seen, {unexpected} where nothing hung")
    check(bool(spans) and 0.99 <= min(spans) and max(spans) <= 1.2, f"after {min(spans, default=0):.3f} to {max(spans, default=0):.3f} s, deadline 1 s (1 to 1.2)")
    back = len(entries(veltrix, "a lane that had been replaced came back, and ends"))
    check(back >= hangs, f"{back} lanes came back after their fence and ended: those that hung, and neighbours that were moved")
    for where, events in [("http", receiver.events()), ("file", list(file_events(folder / "out.ndjson")))]:
        check_arrivals(f"hangs, {where}", events, range(1, count + 1))


def hangs_again(arguments, folder):
    """One event that hangs at each attempt, and waits between them for longer than the deadline."""
    receiver, attempts = Receiver().open(), 5
    inject = [{"at": "handler.work", "hang": "60s", "only": {"id": "load-1000"}, "sticky": True}]
    config = dying(folder, receiver, 1_000, 10_000, inject)
    config["handlers"]["work"]["supervision"].update(attempts=attempts, backoff={"min": "1500ms", "max": "2s"})
    del config["sources"]["idle"]
    veltrix = Veltrix(arguments.veltrix, folder, config)
    finish(veltrix)
    struck = [at(entry) for entry in entries(veltrix, "injected a fault")]
    seen = [at(entry) for entry in entries(veltrix, "a handler hangs, its lane goes on without it")]
    check(len(struck) == len(seen) == attempts, f"an event that always hangs: {len(struck)} attempts of {attempts}, reported {len(seen)} times")
    spans = [round(then - first, 3) for first, then in zip(struck, seen)]
    check(all(0.99 <= span <= 1.2 for span in spans), f"seen after {spans} s, deadline 1 s (1 to 1.2)")


def deaths(arguments, folder):
    hangs, deaths, receiver = arguments.hangs, arguments.deaths, Receiver().open()
    rate = 10_000
    count = rate * max(1, hangs * 2 // 5)
    parts = {"handler.work": 0.6, "sink.file": 0.1, "sink.web": 0.1, "router": 0.1, "source.load": 0.1}
    inject = [
        {"at": point, "abort_actor": deaths * part * 2 / count, "times": int(deaths * part)} for point, part in parts.items()
    ]
    inject.append({"at": "handler.work", "hang": "5s", "probability": hangs * 2 / count, "times": hangs})
    veltrix, summary = recover(arguments, folder, dying(folder, receiver, rate, count, inject), count)
    log = faults_of(folder / "faults.ndjson")
    injected = collections.Counter((each["at"], each["action"]) for each in log)
    note(f"injected: {', '.join(f'{point} {action} {number}' for (point, action), number in sorted(injected.items()))}")
    died = sum(number for (_, action), number in injected.items() if action == "abort_actor")
    check(died == sum(each.get("times") for each in inject[:-1]) and injected["handler.work", "hang"] == hangs, f"{died} actors died, {hangs} hung")
    check(summary["dead_lettered"] == 0, f"{summary['dead_lettered']} dead letters")
    hung = len(entries(veltrix, "a handler hangs, its lane goes on without it"))
    check(hung == hangs, f"{hung} reported as hung")
    note(f"{len(entries(veltrix, 'restarting'))} restarts in the log")
    # A sink that dies delivers again what its receiver has and it had not reported: one batch for each slot and death.
    web = injected["sink.web", "abort_actor"] * 8 * 1024
    check_arrivals("deaths, http", receiver.events(), range(1, count + 1), duplicates_at_most=web)
    check_arrivals("deaths, file", list(file_events(folder / "out.ndjson")), range(1, count + 1))


# 3 -------------------------------------------------------------------------------------------------------------------


def poison(arguments, folder):
    generated = {"type": "generate", "rate": "max", "count": arguments.events}
    poison_costs(arguments, folder, generated, arguments.runs or 15)
    if arguments.data:
        numbered = folder / "numbered.ndjson"
        with open(arguments.data) as lines, open(numbered, "w") as out:
            templates = [json.loads(line) for line in lines]
            for number in range(1, arguments.events + 1):
                out.write(json.dumps({**templates[number % len(templates)], "id": f"load-{number}"}, separators=(",", ":")) + "\n")
        note(f"and {numbered.stat().st_size / 1e9:.1f} GB of events of {pathlib.Path(arguments.data).name}")
        poison_costs(arguments, folder, {"type": "file", "path": str(numbered), "follow": False}, arguments.runs or 8)


def poison_costs(arguments, folder, source, runs):
    """What a poison event adds to a stream. Its third attempt waits for `backoff.min`, and its lane with it: that is in the wall time."""
    figures = collections.defaultdict(list)
    for number in range(runs):
        for name in ["no faults", "none hits", "poison"]:
            here = new(folder, f"{name} {source['type']} {number}")
            figures[name].append(poison_run(arguments, here, name, source, look=number == 0))
    for what, index in [("wall", 0), ("CPU", 1)]:
        times = {name: [each[index] for each in run] for name, run in figures.items()}
        note(f"{what}: " + ", ".join(f"{name} {min(each):.2f} to {max(each):.2f} s" for name, each in times.items()))
        # Each run beside the one just before it: the machine is hardly the same for longer.
        ratio = lambda to: statistics.median(one / other for one, other in zip(times["poison"], times[to]))
        check(ratio("none hits") <= 1.05, f"{what} with the poison event: {ratio('none hits'):.3f}x of the same run without it (at most 1.05)")
        note(f"{what}: {ratio('no faults'):.3f}x of a run without any `faults` (whose dice are thrown for each event)")


def poison_run(arguments, folder, name, source, look):
    count, port, out = arguments.events, free_port(), folder / "out.ndjson"
    is_real = source["type"] == "file"
    config = {
        "service": {"admin": {"listen": f"{HOST}:{port}"}},
        "sources": {
            "load": source,
            "idle": {"type": "tcp", "listen": f"{HOST}:{free_port()}"},
        },
        "handlers": {"work": {"on": ">" if is_real else "order.>", "type": "pass", "to": "out", "lanes": 2}},
        # Gigabytes of results would measure the disk.
        "sinks": {"out": {"type": "blackhole"} if is_real else {"type": "file", "path": str(out)}},
    }
    if name != "no faults":
        poisoned = f"load-{count // 2}" if name == "poison" else "nobody"
        inject = [{"at": "handler.work", "panic": True, "only": {"id": poisoned}, "sticky": True}]
        config["faults"] = {"inject": inject}
    expected = count - (name == "poison")
    veltrix = Veltrix(arguments.veltrix, folder, config)
    veltrix.wait_until_running()
    wait_for("all are delivered", lambda: delivered(port, "out") >= expected)
    wall, cpu = time.monotonic() - veltrix.started, cpu_seconds(veltrix.process)
    if look and name == "poison":
        look_at_dead_letter(arguments, port, poisoned)
    veltrix.stop()
    if look and not is_real:
        survivors = [number for number in range(1, count + 1) if not (name == "poison" and number == count // 2)]
        check_arrivals(name, list(file_events(out)), survivors)
    out.unlink(missing_ok=True)
    return wall, cpu


def look_at_dead_letter(arguments, port, poisoned):
    command = [arguments.veltrix, "dead-letters", "--admin", f"http://{HOST}:{port}", "-o", "json"]
    ask = lambda *words: json.loads(subprocess.run([command[0], command[1], *words, *command[2:]], capture_output=True, text=True).stdout)
    listed = ask("list")
    letters = listed.get("dead_letters", listed)
    check(len(letters) == 1, f"`dead-letters list` has {len(letters)}")
    letter = ask("show", str(letters[0]["sequence"]))
    found = {key: letter.get(key) for key in ["branch", "class", "reason"]}
    check(letter["event"]["id"] == poisoned and letter["class"] == "panic", f"it is {letter['event']['id']}: {found}")
    check("injected panic at handler.work" in letter["reason"], "with the panic's message")
    check(bool(letter.get("backtrace")) and "panic" in json.dumps(letter["backtrace"]), "and its backtrace")


# 4 -------------------------------------------------------------------------------------------------------------------

PAUSED = "too many of the handler's events fail, it is paused; its events wait"


def breaker(arguments, folder):
    faults = {
        "permanent errors, 1 lane": (1, {"error": "permanent"}),
        "panics, 1 lane": (1, {"panic": True}),
        "panics, 4 lanes": (4, {"panic": True}),
        "retryable errors, 4 lanes": (4, {"error": "retryable"}),
    }
    for name, (lanes, fault) in faults.items():
        breaker_run(arguments, new(folder, name), name, lanes, {**fault, "until": "6s"}, 6)
    # One that has worked for a while has its good events in the breaker's window.
    for name, (lanes, fault) in faults.items():
        name = f"{name}, broken after 5 s"
        breaker_run(arguments, new(folder, name), name, lanes, {**fault, "from": "5s", "until": "21s"}, 16)


def breaker_run(arguments, folder, name, lanes, fault, broken_seconds):
    port, out = free_port(), folder / "out.ndjson"
    config = {
        "service": {"admin": {"listen": f"{HOST}:{port}"}},
        "sources": {
            "load": {"type": "generate", "rate": 2_000},
            "good": {"type": "generate", "rate": 2_000, "types": {"good.event": 1}},
        },
        "handlers": {
            "work": {"on": "order.>", "type": "pass", "to": "out", "lanes": lanes},
            "other": {"on": "good.event", "type": "pass", "to": "none"},
        },
        "sinks": {"out": {"type": "file", "path": str(out)}, "none": {"type": "blackhole"}},
        "faults": {"log": str(folder / "faults.ndjson"), "inject": [{"at": "handler.work", **fault, "sticky": True}]},
    }
    veltrix = Veltrix(arguments.veltrix, folder, config, kept=1_000_000)
    veltrix.wait_until_running()
    if wait_for(f"{name}: paused", lambda: entries(veltrix, PAUSED), 25):
        # The lanes see it before their next run of events.
        seen = wait_for(f"{name}: a paused actor in the tree", lambda: '"paused"' in get(port, "/api/tree")[1], 2)
        status, answer = get(port, "/readyz")
        check(seen and "degraded" in answer, f"{name}: readyz says {status} {answer.strip()[:80]!r}")
        wait_for(f"{name}: goes on", lambda: entries(veltrix, "the handler goes on"), 60)
        time.sleep(2)
    code = veltrix.stop()
    summary = veltrix.summary("summary")
    check(code == 0 and summary["balanced"], f"{name}: exit {code}, the ledger: {shown(summary)}")
    broken = [at(entry) for entry in entries(veltrix, "injected a fault")]
    pauses = [at(entry) for entry in entries(veltrix, PAUSED)]
    went_on = [at(entry) for entry in entries(veltrix, "the handler goes on")]
    letters = veltrix.summary("handler summary", handler="work")["dead_lettered"]
    if not pauses or not went_on:
        return check(False, f"{name}: paused {len(pauses)} times, went on {len(went_on)} times, {letters} dead letters")
    gaps = [round(then - first, 1) for first, then in zip(pauses, pauses[1:])]
    check(pauses[0] - broken[0] <= 1, f"{name}: paused {pauses[0] - broken[0]:.3f} s after the first failure (at most 1), then {gaps} s apart")
    probes = len(pauses) - 1
    check(letters <= 50 + lanes + probes, f"{name}: {letters} dead letters (min_events 50, {lanes} in flight, {probes} probes)")
    note(f"{name}: it goes on {went_on[-1] - broken[0] - broken_seconds:.1f} s after it was mended")
    dead = {int(each["id"].rpartition("-")[2]) for each in faults_of(folder / "faults.ndjson")}
    arrived = list(file_events(out))
    accepted = veltrix.summary("source summary", source="load")["accepted"]
    numbers = {int(each["id"].rpartition("-")[2]) for each in arrived}
    missing = set(range(1, accepted + 1)) - numbers
    check(len(missing) == letters and missing <= dead, f"{name}: of {accepted} accepted {letters} are dead letters, the other {len(numbers)} arrived, none is lost")
    check_arrivals(name, arrived, sorted(numbers))


# 6 -------------------------------------------------------------------------------------------------------------------


def sink_down(arguments, folder):
    port_taken(arguments, new(folder, "taken"))
    port_comes_free(arguments, new(folder, "free"))
    receiver_down(arguments, new(folder, "down"))


def port_config(port):
    return {
        "sources": {"web": {"type": "http", "listen": f"{HOST}:{port}"}},
        "handlers": {"all": {"on": ">", "type": "pass", "to": "none"}},
        "sinks": {"none": {"type": "blackhole"}},
    }


def port_taken(arguments, folder):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        veltrix = Veltrix(arguments.veltrix, folder, port_config(taken.getsockname()[1]))
        code = veltrix.end(60)
    took, last = time.monotonic() - veltrix.started, veltrix.log[-1]
    waits = [entry["wait"] for entry in entries(veltrix, "restarting", path="sources/web")]
    check(len(waits) == 5, f"a taken port: {len(waits)} retries after {', '.join(waits)}")
    check(code == 70, f"a taken port: exit {code} after {took:.1f} s")
    check("cannot listen" in json.dumps(last), f"a taken port, the last line: {last.get('level')} {last.get('message')} {last.get('reason', '')} {last.get('error', '')}")


def port_comes_free(arguments, folder):
    taken = socket.socket()
    taken.bind((HOST, 0))
    taken.listen()
    port = taken.getsockname()[1]
    veltrix = Veltrix(arguments.veltrix, folder, port_config(port))
    wait_for("two retries", lambda: len(entries(veltrix, "restarting", path="sources/web")) >= 2, 20)
    taken.close()
    wait_for("it runs", lambda: veltrix.running.is_set(), 20)
    check(veltrix.running.is_set(), f"a port that comes free: it runs after {len(entries(veltrix, 'restarting', path='sources/web'))} retries")
    check(veltrix.stop() == 0, "and ends with 0")


def receiver_down(arguments, folder):
    rate = int(capacity(arguments, new(folder, "capacity")) / 2 / 4)
    seconds, port = arguments.seconds, free_port()
    receiver = Receiver().open()
    names = ["one", "two", "three"]
    config = {
        "service": {"drain_timeout": "60s", "admin": {"listen": f"{HOST}:{port}"}},
        "sources": {
            "load": {"type": "generate", "rate": 5_000, "types": {"down.event": 1}},
            **{name: {"type": "generate", "rate": rate, "types": {f"up.{name}": 1}} for name in names},
        },
        "handlers": {
            "load": {"on": "down.event", "type": "pass", "to": "web"},
            **{name: {"on": f"up.{name}", "type": "pass", "to": name} for name in names},
        },
        "sinks": {"web": receiver.sink(), **{name: {"type": "blackhole"} for name in names}},
    }
    veltrix = Veltrix(arguments.veltrix, folder, config, kept=1_000_000)
    veltrix.wait_until_running()
    time.sleep(5)
    before = shares(port, names, rate, 5)
    stop_receiver(receiver)
    time.sleep(0.5)
    at_stop = len(receiver.bodies)
    down = shares(port, names, rate, seconds)
    check(len(receiver.bodies) == at_stop, f"the receiver got nothing for {seconds:.0f} s")
    memory = veltrix.memory() / 2**20
    receiver.open()
    begin = time.time()
    receiver.first = None
    after = shares(port, names, rate, 10)
    note(f"each of three others offered {rate:,}/s; before {before}, after {after}; {memory:.0f} MiB")
    check(all(share >= 0.95 for share in down.values()), f"while it is down they keep {down}")
    check(receiver.first is not None, f"it gets events again {((receiver.first or begin) - begin):.1f} s after its return")
    code = veltrix.stop(90)
    summary = veltrix.summary("summary")
    check(code == 0 and summary["balanced"] and summary["dead_lettered"] == 0, f"exit {code}, the ledger: {shown(summary)}")
    accepted = veltrix.summary("source summary", source="load")["accepted"]
    check_arrivals("the sink that was down", receiver.events(), range(1, accepted + 1), duplicates_at_most=8 * 1024)


def shares(port, names, rate, seconds):
    before, begin = {name: delivered(port, name) for name in names}, time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - begin
    return {name: round((delivered(port, name) - before[name]) / (rate * elapsed), 3) for name in names}


def stop_receiver(receiver):
    receiver.server.shutdown()
    receiver.server.server_close()
    # Its open connections live on in their threads: those are cut as well, as when its process dies.
    for folder in pathlib.Path("/proc/self/fd").iterdir():
        try:
            peer = socket.socket(fileno=os.dup(int(folder.name)))
        except OSError:
            continue
        with peer:
            try:
                if peer.getsockname()[:2] == (HOST, receiver.port):
                    peer.shutdown(socket.SHUT_RDWR)
            except (OSError, IndexError):
                pass


# 7 -------------------------------------------------------------------------------------------------------------------


def process_state(pid):
    try:
        rest = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return rest[0], int(rest[1])
    except (FileNotFoundError, ProcessLookupError):
        return None, None


def children(parent):
    pids = [int(path.name) for path in pathlib.Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if process_state(pid)[1] == parent]


def exec_stop(arguments, folder):
    out, stops = folder / "out.ndjson", arguments.stops
    config = {
        "supervision": MANY_RESTARTS,
        "sources": {"load": {"type": "generate", "rate": 2_000}},
        "handlers": {"ask": {
            "on": "order.>", "type": "exec", "command": ["sh", "-c", "sleep 1000 & exec cat"], "timeout": "1h",
            "to": "out", "lanes": 2, "supervision": {"deadline": "1s", "attempts": 5},
        }},
        "sinks": {"out": {"type": "file", "path": str(out)}},
    }
    veltrix = Veltrix(arguments.veltrix, folder, config, kept=1_000_000)
    veltrix.wait_until_running()
    family = lambda: {child: children(child) for child in children(veltrix.process.pid)}
    complete = lambda: len(family()) == 2 and all(len(each) == 1 for each in family().values())
    spans, gone = [], []
    for number in range(stops):
        if not wait_for("two children with a child each", complete, 30):
            break
        time.sleep(0.2)
        members = family()
        child = sorted(members)[number % 2]
        gone += [child, *members[child]]
        os.kill(child, signal.SIGSTOP)
        begin = time.monotonic()
        if not wait_for("the stopped child is replaced", lambda: process_state(child)[0] in (None, "Z"), 30):
            break
        spans.append(time.monotonic() - begin)
    check(len(spans) == stops, f"{len(spans)} of {stops} stopped children were replaced")
    check(bool(spans) and max(spans) <= 1.2, f"gone {min(spans, default=0):.3f} to {max(spans, default=0):.3f} s after the stop, deadline 1 s (at most 1.2)")
    wait_for("the last family", complete, 30)
    last = family()
    left = [pid for pid in gone if process_state(pid)[0] not in (None, "Z")]
    zombies = [pid for pid in children(veltrix.process.pid) if process_state(pid)[0] == "Z"]
    check(not left and not zombies, f"of {len(gone)} children and grandchildren {len(left)} live, {len(zombies)} zombies")
    code = veltrix.stop()
    summary = veltrix.summary("summary")
    check(code == 0 and summary["balanced"] and summary["dead_lettered"] == 0, f"exit {code}, the ledger: {shown(summary)}")
    everybody = [pid for child, its in last.items() for pid in [child, *its]]
    left = [pid for pid in everybody if process_state(pid)[0] not in (None, "Z")]
    check(not left, f"of the last {len(everybody)} {len(left)} live after the end")
    check_arrivals("exec", list(file_events(out)), range(1, summary["accepted"] + 1))


# 8 -------------------------------------------------------------------------------------------------------------------


def seeds(arguments, folder):
    logs = [seeds_run(arguments, new(folder, str(number)), seed) for number, seed in enumerate([11, 11, 12])]
    first, again, other = logs
    check(first == again, f"the same seed: {len(first):,} and {len(again):,} faults, {len(set(first) ^ set(again))} differ")
    strip = lambda log: [line.replace('"seed":12,', '"seed":11,') for line in log]
    common = len(set(first) & set(strip(other)))
    check(first != strip(other) and common < len(first) / 2, f"another seed: {len(other):,} faults, {common:,} of them the same")


def seeds_run(arguments, folder, seed):
    count, out = arguments.events, folder / "out.ndjson"
    inject = [
        {"at": "handler.work", "panic": 0.05},
        {"at": "handler.work", "error": 0.01},
        {"at": "handler.work", "panic": True, "only": {"subject": "c-7"}, "probability": 0.01, "sticky": True},
        {"at": "handler.work", "corrupt": 0.01},
        {"at": "handler.work", "abort_actor": 0.0002},
        {"at": "sink.out", "error": "retryable", "probability": 0.0001},
        {"at": "sink.out", "delay": "1ms", "probability": 0.0001},
    ]
    config = {
        "supervision": MANY_RESTARTS,
        "sources": {"load": {"type": "generate", "rate": "max", "count": count}},
        "handlers": {"work": {"on": "order.>", "type": "pass", "to": "out", "lanes": 4, "supervision": {"breaker": {"dead_letter_ratio": 1}}}},
        "sinks": {"out": {"type": "file", "path": str(out)}},
        "faults": {"seed": seed, "log": str(folder / "faults.ndjson"), "inject": inject},
    }
    veltrix = Veltrix(arguments.veltrix, folder, config)
    summary = finish(veltrix)
    log = lines_of(folder / "faults.ndjson")
    # An event that comes again after a death of its lane meets a sticky fault again: how often depends on the threads.
    unique = sorted(set(log))
    note(f"seed {seed}: {len(log):,} lines, {len(unique):,} different")
    arrived = [each for each in file_events(out)]
    check(len(arrived) + summary["dead_lettered"] == count, f"seed {seed}: {len(arrived):,} delivered, {summary['dead_lettered']} dead letters")
    check_arrivals(f"seed {seed}", arrived, sorted({int(each["id"][5:]) for each in arrived}))
    out.unlink()
    return unique


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--veltrix", required=True, type=lambda text: str(pathlib.Path(text).resolve()))
    parser.add_argument("--events", type=int, default=1_000_000, help="events of a stream")
    parser.add_argument("--runs", type=int, default=0, help="runs of each kind where some are compared, in turn; 0 for as many as the figure needs")
    parser.add_argument("--seconds", type=float, default=60, help="time for which a sink is down")
    parser.add_argument("--deaths", type=int, default=1_000)
    parser.add_argument("--hangs", type=int, default=100)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--data", help="events, one a line: a poison event's cost is measured among these as well")
    figures = [panics, deaths_and_hangs, poison, breaker, sink_down, exec_stop, seeds]
    named = {function.__name__.replace("_", "-"): function for function in figures}
    parser.add_argument("name", choices=named)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        named[arguments.name](arguments, pathlib.Path(folder))
    if FAILED:
        print(f"{len(FAILED)} figures do not hold", flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
