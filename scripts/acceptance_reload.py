"""The full-size checks of scripts/acceptance for reloads: a thousand of them under load, a bad one, a large one. Standard library only."""

import argparse
import copy
import json
import multiprocessing
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from acceptance import HOST, Veltrix, free_port
from acceptance_config import large
from acceptance_supervision import (
    FAILED, check, check_arrivals, delivered, file_events, finish, get, note, percentile, wait_for,
)

PROBES_PER_SECOND = 500
# So many reloads are followed by a pause in which so many are only made believe, to compare with.
REAL, SHAM = 20, 20


def reload(port, body=b"{}"):
    request = urllib.request.Request(
        f"http://{HOST}:{port}/api/reload", data=body, headers={"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def write(folder, config):
    (folder / "config.json").write_text(json.dumps(config))


# 2: a thousand reloads under load --------------------------------------------------------------------------------------

def probe(source, sink, stop, results):
    """A sender with one connection, and the receiver of what it sends: when each probe was sent, acknowledged and delivered."""
    listener = socket.create_server((HOST, sink))
    out = socket.create_connection((HOST, source))
    sent, arrived, broken = [], {}, []

    def receive():
        connection = listener.accept()[0]
        with connection, connection.makefile() as lines:
            for line in lines:
                arrived.setdefault(int(json.loads(line)["data"]["n"]), time.monotonic())

    def acknowledged():
        with out.makefile() as lines:
            for line in lines:
                if json.loads(line)["rejected"]:
                    broken.append(line)
        if not stop.is_set():
            broken.append("the connection ended")

    threading.Thread(target=receive, daemon=True).start()
    threading.Thread(target=acknowledged, daemon=True).start()
    begun = time.monotonic()
    while not stop.is_set():
        number = len(sent)
        due = begun + number / PROBES_PER_SECOND
        time.sleep(max(0.0, due - time.monotonic()))
        line = {"specversion": "1.0", "id": str(number), "source": "/p", "type": "probe", "data": {"n": number}}
        # From the time at which it was due: a late sender hides no delay.
        sent.append(due)
        out.sendall(json.dumps(line).encode() + b"\n")
    until = time.monotonic() + 30
    while len(arrived) < len(sent) and time.monotonic() < until:
        time.sleep(0.05)
    results.put((sent, [arrived.get(number) for number in range(len(sent))], broken))


def loaded(folder, rate, ports):
    return {
        "service": {"admin": {"listen": f"{HOST}:{ports['admin']}"}, "data_dir": str(folder / "data")},
        "sources": {
            "load": {"type": "generate", "rate": rate, "seed": 7, "types": {"order.created": 1}},
            "probes": {"type": "tcp", "listen": f"{HOST}:{ports['probes']}", "ack": True},
        },
        "handlers": {
            "main": {"on": "order.>", "type": "map", "set": {"data.round": "0"}, "to": ["ledger"], "lanes": 2},
            "probe": {"on": "probe", "type": "pass", "to": ["probe"]},
        },
        "sinks": {
            "ledger": {"type": "file", "path": str(folder / "ledger.ndjson")},
            "probe": {"type": "tcp", "address": f"{HOST}:{ports['sink']}"},
        },
        "routing": {"unmatched": "drop"},
        "reload": {"probation": "1s"},
    }


def turn(config, number, dice, folder):
    """Another config, which differs in one thing."""
    config = copy.deepcopy(config)
    kind = dice.choice(["expression", "lanes", "handler", "sink", "source", "sync"])
    if kind == "expression":
        config["handlers"]["main"]["set"]["data.round"] = str(number)
    elif kind == "lanes":
        config["handlers"]["main"]["lanes"] = dice.randint(1, 4)
    elif kind == "sync":
        config["sinks"]["ledger"]["sync"] = dice.choice(["interval", "never"])
    elif kind == "handler":
        if config["handlers"].pop("side", None) is None:
            config["handlers"]["side"] = {"on": "order.created", "type": "map", "when": "data.quantity > 4", "to": ["none"]}
            config["sinks"]["none"] = {"type": "blackhole"}
        else:
            config["sinks"].pop("none")
    elif kind == "sink":
        if config["handlers"].pop("copy", None) is None:
            config["sinks"]["copy"] = {"type": "file", "path": str(folder / "copy.ndjson"), "rotate": {"size": "16MiB"}}
            config["handlers"]["copy"] = {"on": "probe", "type": "pass", "to": ["copy"]}
        else:
            config["sinks"].pop("copy")
    elif config["sources"].pop("more", None) is None:
        config["sources"]["more"] = {"type": "tcp", "listen": f"{HOST}:{free_port()}"}
    return config


def break_it(config, dice):
    config = copy.deepcopy(config)
    how = dice.randint(0, 3)
    if how == 0:
        config["handlers"]["main"]["set"]["data.round"] = "1 +"
    elif how == 1:
        config["handlers"]["main"]["to"] = ["nowhere"]
    elif how == 2:
        config["service"]["memory"] = "99MiB"
    else:
        config["sinks"]["ledger"]["pth"] = "x"
    return config


def reloads(arguments, folder):
    dice = random.Random(arguments.seed)
    note(f"seed {arguments.seed}, {arguments.count:,} reloads at {arguments.rate:,} events/s")
    ports = {name: free_port() for name in ["admin", "probes", "sink"]}
    config = loaded(folder, arguments.rate, ports)
    stop, results = multiprocessing.Event(), multiprocessing.Queue()
    veltrix = Veltrix(arguments.veltrix, folder, config, kept=100_000)
    veltrix.wait_until_running()
    prober = multiprocessing.Process(target=probe, args=(ports["probes"], ports["sink"], stop, results))
    prober.start()
    time.sleep(5)
    spans, shams, memory, unexpected = [], [], [], []
    for number in range(arguments.count):
        if number and number % REAL == 0:
            for _ in range(SHAM):
                begun, ended = dice.choice(spans)
                shams.append((time.monotonic(), time.monotonic() + ended - begun))
                time.sleep(ended - begun + dice.uniform(0.0, 2 * arguments.pause))
        is_bad = dice.random() < 0.25
        if not is_bad:
            config = turn(config, number, dice, folder)
        write(folder, break_it(config, dice) if is_bad else config)
        begun = time.monotonic()
        status, answer = reload(ports["admin"])
        spans.append((begun, time.monotonic()))
        if (status == 200) == is_bad:
            unexpected.append((status, answer))
        memory.append(veltrix.memory())
        time.sleep(dice.uniform(0.0, 2 * arguments.pause))
    time.sleep(5)
    stop.set()
    sent, arrived, broken = results.get(timeout=60)
    times = [ended - begun for begun, ended in spans]
    note(f"a reload takes p50 {1000 * percentile(times, 0.5):.1f} ms, p99 {1000 * percentile(times, 0.99):.1f} ms")
    check(not unexpected, f"{len(unexpected)} reloads with another result than expected {unexpected[:2] or ''}")
    check(not broken, f"{len(broken)} probes refused or connections ended {broken[:2] or ''}")
    check(None not in arrived, f"{arrived.count(None)} of {len(sent):,} probes lost")
    latencies(sent, arrived, spans, shams)
    fifth = len(memory) // 5
    # What is there for a moment while the disk stalls is no growth.
    first, last = percentile(memory[fifth:2 * fifth], 0.5), percentile(memory[-fifth:], 0.5)
    note(f"memory {min(memory) / 2**20:.1f} MiB at least, {max(memory) / 2**20:.1f} at most")
    check(last <= first * 1.1, f"memory {last / 2**20:.1f} MiB (median) in the last fifth, {first / 2**20:.1f} in the second: "
          f"{last / first:.2f}x (at most 1.1x)")
    veltrix.process.terminate()
    prober.join()
    summary = finish(veltrix)
    numbers = veltrix.summary("source summary", source="load")["accepted"]
    note(f"{numbers:,} events of the load, {summary['accepted']:,} in all")
    check_arrivals("ledger", file_events(folder / "ledger.ndjson"), range(1, numbers + 1), prefix="load-")


def latencies(sent, arrived, spans, shams):
    """During a reload against while one was made believe. At just any other time it would not be the same measure: what takes
    long for whatever reason is more likely to fall together with a reload, the more so the longer it takes."""
    during, usual = under_way(sent, arrived, spans), under_way(sent, arrived, shams)
    note(f"{len(during):,} probes under way during a reload, {len(usual):,} during none; "
         f"p50 {1e6 * percentile(during, 0.5):.0f} and {1e6 * percentile(usual, 0.5):.0f} us")
    meanwhile, usual = percentile(during, 0.99), percentile(usual, 0.99)
    check(meanwhile <= 3 * usual, f"p99 {1e6 * meanwhile:.0f} us during a reload, {1e6 * usual:.0f} us during none: "
          f"{meanwhile / usual:.2f}x (at most 3x)")


def under_way(sent, arrived, spans):
    """The latencies of the probes that were under way in any of the spans, the first second left out."""
    latencies, span = [], 0
    for at, came in zip(sent, arrived):
        if came is None or at < sent[0] + 1:
            continue
        while span < len(spans) and spans[span][1] < at:
            span += 1
        if span < len(spans) and spans[span][0] <= came:
            latencies.append(came - at)
    return latencies


# 3: a bad one ----------------------------------------------------------------------------------------------------------

def rollback(arguments, folder):
    for what in ["panics", "errors"]:
        ports = {name: free_port() for name in ["admin", "probes", "sink"]}
        here = folder / what
        here.mkdir()
        good = loaded(here, 10_000, ports)
        good["reload"]["probation"] = "10s"
        good["sinks"]["probe"] = {"type": "blackhole"}
        # One that panics at each attempt at each event, when there is one.
        good["faults"] = {"inject": [{"at": "handler.b*", "panic": True, "sticky": True}]}
        veltrix = Veltrix(arguments.veltrix, here, good, kept=100_000)
        veltrix.wait_until_running()
        time.sleep(2)
        bad = copy.deepcopy(good)
        if what == "panics":
            bad["handlers"]["bad"] = {**bad["handlers"].pop("main"), "supervision": {"attempts": 1}}
        else:
            bad["handlers"]["main"]["set"] = {"data.round": "data.none.of.it"}
        write(here, bad)
        begun = time.monotonic()
        status, _ = reload(ports["admin"])
        check(status == 200, f"{what}: the bad config is taken over ({status})")

        def is_back():
            history = json.loads(get(ports["admin"], "/api/config/history")[1])["history"]
            return history[0]["result"] == "rolled-back"

        if wait_for(f"{what}: a rollback", is_back, 10):
            note(f"{what}: rolled back after {time.monotonic() - begun:.2f} s")
        before = delivered(ports["admin"], "ledger")
        wait_for(f"{what}: the old stream goes on", lambda: delivered(ports["admin"], "ledger") > before + 20_000, 20)
        veltrix.process.terminate()
        summary = finish(veltrix)
        accepted = veltrix.summary("source summary", source="load")["accepted"]
        arrived = {int(each["id"].rpartition("-")[2].split(".")[0]) for each in file_events(here / "ledger.ndjson")}
        dead = summary["dead_lettered"]
        check(len(arrived) + dead == accepted, f"{what}: {accepted:,} accepted = {len(arrived):,} delivered + {dead:,} dead letters")


# 7: a large one --------------------------------------------------------------------------------------------------------

def large_reload(arguments, folder):
    port = free_port()
    text = large(5_000).replace("service: { name: large }", f"service: {{ name: large, admin: {{ listen: '{HOST}:{port}' }}, data_dir: '{folder}/data' }}")
    veltrix = Veltrix(arguments.veltrix, folder, {}, stdin=subprocess.PIPE, text=text)
    if not veltrix.running.wait(60):
        return check(False, f"the process runs within 60 s: {veltrix.log[-3:]}")
    times = []
    for number in range(5):
        (folder / "config.yaml").write_text(text.replace(f"    on: [domain{number}.event{number},", f"    on: [domain{number}.event{number}, domain{number}.more,"))
        begun = time.monotonic()
        status, answer = reload(port)
        times.append(time.monotonic() - begun)
        changed = answer.get("changes", {}).get("handlers", {}).get("changed", [])
        check(status == 200 and f"handler-{number}" in changed and len(changed) <= 2, f"{status}, changed {changed}")
    middle = sorted(times)[2]
    check(middle <= 1.0, f"a reload with one change of 5,000 handlers takes {middle:.2f} s (median of 5, at most 1)")
    veltrix.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--veltrix", required=True)
    parser.add_argument("name", choices=["reloads", "rollback", "large-reload"])
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--rate", type=int, default=50_000)
    parser.add_argument("--pause", type=float, default=0.03, help="seconds between two reloads, on average")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    checks = {"reloads": reloads, "rollback": rollback, "large-reload": large_reload}
    with tempfile.TemporaryDirectory() as folder:
        checks[arguments.name](arguments, pathlib.Path(folder))
    sys.exit(1 if FAILED else 0)


if __name__ == "__main__":
    main()
