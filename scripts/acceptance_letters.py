"""The full-size check of scripts/acceptance for dead letters: a million events, one in a hundred poison, mended and replayed. Standard library only."""

import argparse
import collections
import getpass
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

from acceptance import HOST, Veltrix, free_port, lines_of
from acceptance_reload import reload, write
from acceptance_supervision import FAILED, check, file_events, finish, get, note, wait_for

KEYS = 1_000


def line(number, is_poison):
    event = {
        "specversion": "1.0", "id": str(number), "source": "/acceptance", "type": "order.created",
        "subject": str(number % KEYS), "data": {"amount": "none" if is_poison else str(number)},
    }
    return json.dumps(event).encode() + b"\n"


def send(port, count, poison):
    """All events over one connection, until each is acknowledged; how many were."""
    connection = socket.create_connection((HOST, port))
    accepted = 0

    def write_all():
        for start in range(0, count, 1_000):
            connection.sendall(b"".join(line(number, number in poison) for number in range(start, min(start + 1_000, count))))

    threading.Thread(target=write_all, daemon=True).start()
    with connection, connection.makefile() as answers:
        for answer in answers:
            accepted += json.loads(answer)["accepted"]
            if accepted >= count:
                return accepted
    return accepted


def listed(port):
    """The dead letters, page by page."""
    letters, after = [], None
    while True:
        page = json.loads(get(port, "/api/dead-letters?limit=1000" + (f"&after={after}" if after else ""))[1])
        letters += page["dead_letters"]
        after = page.get("next_after")
        if after is None:
            return letters


def letters(arguments, folder):
    dice = random.Random(arguments.seed)
    count, poison = arguments.count, set(dice.sample(range(arguments.count), arguments.count // 100))
    note(f"seed {arguments.seed}, {count:,} events, {len(poison):,} of them poison")
    admin, source = free_port(), free_port()
    config = {
        "service": {"admin": {"listen": f"{HOST}:{admin}"}, "data_dir": str(folder / "data")},
        "sources": {"in": {"type": "tcp", "listen": f"{HOST}:{source}", "ack": True}},
        "handlers": {"price": {
            "on": "order.>", "type": "map", "set": {"data.cents": "int(data.amount) * 100"}, "to": "out", "lanes": 4,
            "supervision": {"attempts": 1},
        }},
        "sinks": {"out": {"type": "file", "path": str(folder / "out.ndjson")}},
    }
    veltrix = Veltrix(arguments.veltrix, folder, config, kept=100_000)
    veltrix.wait_until_running()
    begun = time.monotonic()
    check(send(source, count, poison) == count, f"{count:,} events are accepted")
    is_finished = 'veltrix_source_in_flight{source="in"} 0\n'
    wait_for("all are finished", lambda: is_finished in get(admin, "/metrics")[1], 120)
    note(f"after {time.monotonic() - begun:.1f} s")
    found = [int(letter["id"]) for letter in listed(admin)]
    check(len(found) == len(poison) and set(found) == poison, f"{len(found):,} dead letters, exactly the poison")
    config["handlers"]["price"]["set"]["data.cents"] = "data.amount == 'none' ? 0 : int(data.amount) * 100"
    write(folder, config)
    status, answer = reload(admin)
    check(status == 200, f"the mended handler is taken over ({status} {answer if status != 200 else ''})")
    begun = time.monotonic()
    replay = subprocess.run(
        [arguments.veltrix, "dead-letters", "replay", "--handler", "price", "--yes", "--admin", f"http://{HOST}:{admin}", "-o", "json"],
        capture_output=True, text=True,
    )
    check(replay.returncode == 0 and json.loads(replay.stdout)["count"] == len(poison), f"the replay sends {replay.stdout.strip()} {replay.stderr}")
    wait_for("no dead letter is left", lambda: not listed(admin), 120)
    note(f"replayed after {time.monotonic() - begun:.1f} s")
    veltrix.process.terminate()
    finish(veltrix)
    events = list(file_events(folder / "out.ndjson"))
    numbers = [int(each["id"]) for each in events]
    arrived = collections.Counter(numbers)
    check(len(arrived) == count and max(arrived.values()) == 1, f"{len(arrived):,} of {count:,} delivered, {sum(arrived.values()) - len(arrived)} twice")
    marked = {number for number, each in zip(numbers, events) if each.get("replayed") == 1}
    check(marked == poison, f"{len(marked):,} bear the mark `replayed`, exactly the poison")
    by_key = collections.defaultdict(list)
    for number in filter(poison.__contains__, numbers):
        by_key[number % KEYS].append(number)
    late = sum(own != sorted(own) for own in by_key.values())
    check(late == 0, f"{late} of {len(by_key):,} keys were replayed out of order")
    audit = [json.loads(each) for each in lines_of(folder / "data" / "audit.ndjson")]
    replays = [entry for entry in audit if "replay" in entry["action"]]
    told = len(replays) == 1 and replays[0]["count"] == len(poison) and replays[0]["user"] in (getpass.getuser(), str(os.getuid())) and replays[0]["at"]
    check(told, f"the audit log says who, when, how many: {replays}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--veltrix", required=True)
    parser.add_argument("name", choices=["letters"])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        letters(arguments, pathlib.Path(folder))
    sys.exit(1 if FAILED else 0)


if __name__ == "__main__":
    main()
