"""The figures of the config: how soon a broken one is refused, and a large one checked. Standard library only."""

import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

BAD_CONFIG = 78
CORPUS = pathlib.Path(__file__).parent.parent / "tests" / "config_corpus"


def check(holds, what):
    print(("ok      " if holds else "FAILED  ") + what, flush=True)
    if not holds:
        sys.exit(1)


def timed(command, environment=None, folder=None):
    """The exit code, the wall-clock seconds, and the CPU seconds of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    environment = {**os.environ, **(environment or {})}
    environment.pop("VELTRIX_CONFIG", None)
    done = subprocess.run(command, capture_output=True, env=environment, cwd=folder)
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return done.returncode, wall, user, system


def diagnostics(veltrix, milliseconds):
    """Every config of the corpus, from its own folder: some name files that lie there."""
    took = []
    for config in sorted(CORPUS.iterdir()):
        if config.suffix == ".expected":
            continue
        variables = config / "environment"
        lines = variables.read_text().splitlines() if variables.exists() else []
        environment = dict(line.split("=", 1) for line in lines)
        command = [veltrix, "validate", "--deny-warnings", "-c", config.name]
        code, wall, _, _ = timed(command, environment, CORPUS)
        if code != BAD_CONFIG:
            check(False, f"{config.name} exits {code}")
        took.append((wall, config.name))
    worst, name = max(took)
    median = statistics.median(wall for wall, _ in took)
    what = f"{len(took)} broken configs: median {median * 1e3:.0f} ms, worst {worst * 1e3:.0f} ms ({name})"
    check(worst <= milliseconds / 1e3, what)


def large(count):
    """A config in which handlers differ as they do in the field: patterns, conditions, edits, keys, a second hop."""
    lines = ["service: { name: large }", "sources: { in: { type: stdin } }", "sinks:"]
    lines += [f"  file{n}: {{ type: file, path: 'out/{n}/{{type}}.ndjson' }}" for n in range(50)]
    lines.append("handlers:")
    for n in range(count):
        domain, sink = n % 100, n % 50
        lines.append(f"  handler-{n}:")
        lines.append(f"    on: [domain{domain}.event{n}, 'domain{domain}.*.amended{n}']")
        if n % 5 == 4:
            lines.append(f"    type: pass\n    when: has(data.price) && data.price >= {n}")
        else:
            lines.append("    type: map")
            lines.append(f"    when: data.quantity > {n % 7} && type.startsWith('domain{domain}')")
            lines.append("    set:")
            lines.append(f"      data.total: data.price * data.quantity + {n}")
            lines.append("      data.size: \"data.quantity > 10 ? 'bulk' : 'small'\"")
            lines.append(f"    emit: domain{domain}.priced{n}")
        lines.append("    key: subject\n    lanes: 2")
        lines.append(f"    to: file{sink}")
    return "\n".join(lines) + "\n"


def handlers(veltrix, count, seconds, runs):
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "large.yaml"
        config.write_text(large(count))
        took = []
        for _ in range(runs):
            code, *times = timed([veltrix, "validate", "-c", str(config)])
            check(code == 0, f"{count} handlers are valid")
            took.append(times)
        wall, user, system = sorted(took)[len(took) // 2]
        what = f"{count} handlers: {wall:.2f} s, of CPU {user:.2f} s user and {system:.2f} s system (median of {runs})"
        check(wall <= seconds, what)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--veltrix", required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("diagnostics")
    one.add_argument("--milliseconds", type=int, default=200)
    two = commands.add_parser("handlers")
    two.add_argument("--count", type=int, default=5000)
    two.add_argument("--seconds", type=float, default=1.0)
    two.add_argument("--runs", type=int, default=5)
    two.add_argument("--print", action="store_true", help="only print the config")
    arguments = parser.parse_args()
    arguments.veltrix = str(pathlib.Path(arguments.veltrix).resolve())
    if arguments.command == "diagnostics":
        diagnostics(arguments.veltrix, arguments.milliseconds)
    elif arguments.print:
        print(large(arguments.count), end="")
    else:
        handlers(arguments.veltrix, arguments.count, arguments.seconds, arguments.runs)


if __name__ == "__main__":
    main()
