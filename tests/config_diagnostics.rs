//! Broken configs and the first line of what is said about them.

#[path = "support/config.rs"]
mod support;

use support::load;

/// Goes before each case, so that cases begin in line 3.
const PRELUDE: &str = "sources: { in: { type: stdin } }\nsinks: { out: { type: blackhole } }\n";

/// Config after the prelude, the first error, its help.
const CASES: &[(&str, &str, &str)] = &[
    (
        "sevice: {}",
        "v.yaml:3:1: error: unknown key `sevice`",
        "did you mean `service`? valid keys are `service`, `sources`, `handlers`, `sinks`, `routing`, `supervision`, `dead_letters`, `journal`, `dedupe`, `reload`, `faults` and `tests`",
    ),
    (
        "dedupe: { window: 2d }",
        "v.yaml:3:19: error: `dedupe.window`: `2days` is longer than `journal.retain.age`, from which a restart knows them",
        "make it shorter, or have the journal keep events longer",
    ),
    (
        "reload: { probation: soon }",
        "v.yaml:3:22: error: `reload.probation`: `soon` is not a duration; write a number with a unit, such as `50ms`, `10s`, `5m`, `1h` or `1h 30m`",
        "",
    ),
    (
        "supervision: { breaker: { window: 0s } }",
        "v.yaml:3:35: error: `supervision.breaker.window` must be more than zero",
        "",
    ),
    (
        "supervision: { breaker: { dead_letter_ratio: 50 } }",
        "v.yaml:3:46: error: `supervision.breaker.dead_letter_ratio` must be a number from 0 to 1, not 50",
        "",
    ),
    (
        "supervision: { breaker: { min_events: 0 } }",
        "v.yaml:3:39: error: `supervision.breaker.min_events` must be a whole number of at least 1, not the number 0",
        "",
    ),
    (
        "service: { drain_timeout: 10 }",
        "v.yaml:3:27: error: `service.drain_timeout`: `10` has no unit; write a number with a unit, such as `50ms`, `10s`, `5m`, `1h` or `1h 30m`",
        "",
    ),
    (
        "service: { drain_timeout: soon }",
        "v.yaml:3:27: error: `service.drain_timeout`: `soon` is not a duration; write a number with a unit, such as `50ms`, `10s`, `5m`, `1h` or `1h 30m`",
        "",
    ),
    (
        "service: { memory: 256 }",
        "v.yaml:3:20: error: `service.memory`: `256` has no unit; write a whole number with a unit: `512B`, `64KiB`, `256MiB`, `1GiB` (powers of 1024) or `KB`, `MB`, `GB` (powers of 1000)",
        "",
    ),
    (
        "service: { memory: 1KiB }",
        "v.yaml:3:20: error: `service.memory` must be at least 1MiB, not 1KiB",
        "",
    ),
    (
        "service: { workers: many }",
        "v.yaml:3:21: error: `service.workers` must be `auto` or a number of threads from 1 to 1024, not the text \"many\"",
        "",
    ),
    (
        "service: { workers: 0 }",
        "v.yaml:3:21: error: `service.workers` must be `auto` or a number of threads from 1 to 1024, not the number 0",
        "",
    ),
    (
        "service: { max_hops: -1 }",
        "v.yaml:3:22: error: `service.max_hops` must be a whole number from 1 to 1000, not the number -1",
        "",
    ),
    (
        "service: { max_hops: 0 }",
        "v.yaml:3:22: error: `service.max_hops` must be a whole number from 1 to 1000, not the number 0",
        "",
    ),
    (
        "service: { name: \"my shop\" }",
        "v.yaml:3:18: error: `service.name`: `my shop` is no valid name: use letters, digits, `_` and `-`, 64 at most",
        "",
    ),
    (
        "service: { drain-timeout: 10s }",
        "v.yaml:3:12: error: unknown key `drain-timeout` in `service`",
        "did you mean `drain_timeout`? valid keys are `name`, `data_dir`, `drain_timeout`, `workers`, `memory`, `max_hops` and `admin`",
    ),
    (
        "service: { admin: { listen: \"0.0.0.0:8686\" } }",
        "v.yaml:3:29: error: `service.admin.listen`: the admin server may only listen on loopback, not on 0.0.0.0",
        "write `127.0.0.1:8686`; this version has no access control for other addresses",
    ),
    (
        "service: { admin: { listen: 8686 } }",
        "v.yaml:3:29: error: `service.admin.listen` must be a text, not the number 8686",
        "",
    ),
    (
        "service: { admin: { listen: \"somewhere\" } }",
        "v.yaml:3:29: error: `service.admin.listen`: `somewhere` is not an address and port",
        "write `127.0.0.1:8686`, `localhost:8686` or `[::1]:8686`",
    ),
    (
        "service: { admin: {} }",
        "v.yaml:3:12: error: `service.admin` lacks the key `listen`",
        "`listen`: the address to listen on, such as `127.0.0.1:8686`; loopback only",
    ),
    (
        "service: []",
        "v.yaml:3:1: error: `service` must be a mapping, not a list",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: \"com.github.issue*\", to: out } }",
        "v.yaml:3:34: error: `handlers.a.on`: type pattern `com.github.issue*`: in segment `issue*` the wildcard is not a whole segment",
        "valid forms are `order.created` (one type), `order.*.paid` (`*` stands for one whole segment) and `order.>` (`>` stands for all the rest and comes last)",
    ),
    (
        "handlers: { a: { type: pass, on: a..b, to: out } }",
        "v.yaml:3:34: error: `handlers.a.on`: type pattern `a..b` has an empty segment",
        "valid forms are `order.created` (one type), `order.*.paid` (`*` stands for one whole segment) and `order.>` (`>` stands for all the rest and comes last)",
    ),
    (
        "handlers: { a: { type: pass, on: [a, \">.b\"], to: out } }",
        "v.yaml:3:38: error: `handlers.a.on`: type pattern `>.b`: `>` may only be the last segment",
        "valid forms are `order.created` (one type), `order.*.paid` (`*` stands for one whole segment) and `order.>` (`>` stands for all the rest and comes last)",
    ),
    (
        "handlers: { a: { type: pass, on: [], to: out } }",
        "v.yaml:3:30: error: `handlers.a.on` must name at least one event type",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: [a, 5], to: out } }",
        "v.yaml:3:38: error: `handlers.a.on[1]` must be a text, not the number 5",
        "",
    ),
    (
        "handlers: { a: { type: pass, to: out } }",
        "v.yaml:3:13: error: `handlers.a` lacks the key `on`",
        "`on`: the event types it wants, one pattern or a list: `*` stands for one whole segment, `>` for all the rest",
    ),
    (
        "handlers: { a: { type: pass, on: x } }",
        "v.yaml:3:13: error: `handlers.a` lacks the key `to`",
        "`to`: where its results go, one name or a list: sinks, or `router` to send them round again",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: [] } }",
        "v.yaml:3:37: error: `handlers.a.to` must name at least one target",
        "name sinks, or `router` to send results round again",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: outt } }",
        "v.yaml:3:41: error: `handlers.a.to`: unknown sink `outt`",
        "did you mean `out`? known targets are `out` and `router`",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: [out, out] } }",
        "v.yaml:3:47: error: `handlers.a.to` names `out` twice",
        "",
    ),
    (
        "handlers: { a: { type: mapp, on: x, to: out } }",
        "v.yaml:3:24: error: `handlers.a`: unknown handler type `mapp`",
        "did you mean `map`? handler types are `map`, `pass` and `http`",
    ),
    (
        "handlers: { a: { on: x, to: out } }",
        "v.yaml:3:13: error: `handlers.a` lacks the key `type`",
        "`type`: the kind of handler, as `veltrix components` lists them",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, lenes: 4 } }",
        "v.yaml:3:46: error: unknown key `lenes` in `handlers.a`",
        "did you mean `lanes`? valid keys are `type`, `on`, `when`, `to`, `key`, `lanes`, `isolation` and `supervision`",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, lanes: 0 } }",
        "v.yaml:3:53: error: `handlers.a.lanes` must be a whole number from 1 to 1024, not the number 0",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, lanes: 1025 } }",
        "v.yaml:3:53: error: `handlers.a.lanes` must be a whole number from 1 to 1024, not the number 1025",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, lanes: four } }",
        "v.yaml:3:53: error: `handlers.a.lanes` must be a whole number from 1 to 1024, not the text \"four\"",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, isolation: process } }",
        "v.yaml:3:57: error: `handlers.a.isolation`: unknown value `process`",
        "valid values are `shared` and `thread`",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, key: Subject } }",
        "v.yaml:3:51: error: `handlers.a.key`: `Subject` is no attribute of an event",
        "valid keys are `subject`, `source`, `id`, `type`, an extension attribute and `data.<path>`",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, key: data. } }",
        "v.yaml:3:51: error: `handlers.a.key`: `data.` has an empty step",
        "valid keys are `subject`, `source`, `id`, `type`, an extension attribute and `data.<path>`",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, when: \"a ?? b\" } }",
        "v.yaml:3:52: error: `handlers.a.when`: `a ?? b` is not an expression",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, supervision: { attempts: 0 } } }",
        "v.yaml:3:71: error: `handlers.a.supervision.attempts` must be a whole number of at least 1, not the number 0",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, supervision: { backoff: { min: 10s } } } }",
        "v.yaml:3:77: error: `handlers.a.supervision.backoff`: `min` (10s) must not be longer than `max` (5s)",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, supervision: { backoff: { jitter: 2 } } } }",
        "v.yaml:3:80: error: `handlers.a.supervision.backoff.jitter` must be a number from 0 to 1, not 2",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, supervision: { breaker: { ratio: 1 } } } }",
        "v.yaml:3:72: error: unknown key `ratio` in `handlers.a.supervision.breaker`",
        "valid keys are `dead_letter_ratio`, `window` and `min_events`",
    ),
    (
        "handlers: { a: { type: map, on: x, to: out, set: { data.total: \"a ?? b\" } } }",
        "v.yaml:3:64: error: `handlers.a.set.data.total`: `a ?? b` is not an expression",
        "",
    ),
    (
        "handlers: { a: { type: map, on: x, to: out, set: { data.total: 5 } } }",
        "v.yaml:3:64: error: `handlers.a.set.\"data.total\"` must be a text, not the number 5",
        "an expression is a text: `\"5\"`",
    ),
    (
        "handlers: { a: { type: map, on: x, to: router } }",
        "v.yaml:3:40: error: `handlers.a` sends the events it gets back to itself: no `emit` and `to: router`",
        "give its results another type with `emit`, or send them to a sink",
    ),
    (
        "handlers: { a: { type: map, on: \"x.*\", emit: x.y, to: [out, router] } }",
        "v.yaml:3:46: error: results go round for ever: a -> a",
        "let one of them emit a type that none of them wants, or send to a sink",
    ),
    (
        "handlers:\n  a: { type: map, on: x, emit: y, to: router }\n  b: { type: map, on: y, emit: x, to: router }",
        "v.yaml:4:32: error: results go round for ever: a -> b -> a",
        "let one of them emit a type that none of them wants, or send to a sink",
    ),
    (
        "handlers: { a b: { type: pass, on: x, to: out } }",
        "v.yaml:3:13: error: `handlers.\"a b\"` is no valid name: use letters, digits, `_` and `-`, 64 at most",
        "",
    ),
    (
        "handlers: { a: pass }",
        "v.yaml:3:16: error: `handlers.a` must be a mapping with a `type`",
        "",
    ),
    (
        "handlers: [a]",
        "v.yaml:3:1: error: `handlers` must be a mapping from names to components",
        "",
    ),
    (
        "handlers: { a: { type: http, on: x, to: out } }",
        "v.yaml:3:13: error: `handlers.a` lacks the key `url`",
        "",
    ),
    (
        "routing: { unmatched: deadletter }",
        "v.yaml:3:23: error: `routing.unmatched`: unknown sink `deadletter`",
        "did you mean `dead-letter`? known targets are `out`, `dead-letter` and `drop`",
    ),
    (
        "dead_letters: { also_to: ot }",
        "v.yaml:3:26: error: `dead_letters.also_to`: unknown sink `ot`",
        "did you mean `out`?",
    ),
    (
        "dead_letters: { max_in_memory: 1000001 }",
        "v.yaml:3:32: error: `dead_letters.max_in_memory` must be a whole number from 0 to 1000000, not the number 1000001",
        "",
    ),
    (
        "dead_letters: { keep: 5 }",
        "v.yaml:3:17: error: unknown key `keep` in `dead_letters`",
        "valid keys are `max_in_memory`, `max_on_disk` and `also_to`",
    ),
    (
        "routing: { unmatched: { to: out } }",
        "v.yaml:3:12: error: `routing.unmatched` must be a text, not a mapping",
        "",
    ),
    (
        "a.b: 1",
        "v.yaml:3:1: error: unknown key `a.b`",
        "a dot does not reach into a section; write `a: { b: ... }`",
    ),
    (
        "sources: {}",
        "v.yaml:3:1: error: duplicate key `sources`; it already stands in line 1",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, on: y, to: out } }",
        "v.yaml:3:37: error: duplicate key `on`; it already stands in line 3",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out }",
        "v.yaml:4:1: error: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'",
        "a `{` is not closed, or a comma is missing",
    ),
    (
        "handlers: { a: !custom { type: pass } }",
        "v.yaml:3:16: error: the YAML tag `!custom` has no meaning here",
        "",
    ),
    (
        "handlers: { a: *nowhere }",
        "v.yaml:3:16: error: not valid YAML: while parsing node, found unknown anchor",
        "`&name` must come before the `*name` that repeats it",
    ),
    (
        "service: { name: \"${env:UNSET}\" }",
        "v.yaml:3:18: error: `service.name`: environment variable `UNSET` is not set",
        "set it, or give a default: `${env:UNSET:default}`",
    ),
    (
        "service: { name: \"${UNSET}\" }",
        "v.yaml:3:18: error: `service.name`: unknown reference `${UNSET}`",
        "valid forms are `${env:NAME}`, `${env:NAME:default}` and `${file:/path}`; write `$${` for a plain `${`",
    ),
    (
        "service: { name: \"${env:UNSET\" }",
        "v.yaml:3:18: error: `service.name`: `${` has no closing `}`",
        "valid forms are `${env:NAME}`, `${env:NAME:default}` and `${file:/path}`; write `$${` for a plain `${`",
    ),
    (
        "service: { name: \"${file:/nowhere/at/all}\" }",
        "v.yaml:3:18: error: `service.name`: cannot read `/nowhere/at/all`: No such file or directory (os error 2)",
        "`${file:/path}` takes a text file; a line end at its end is left out",
    ),
];

/// File name, whole config, the first error, its help.
const FILES: &[(&str, &str, &str, &str)] = &[
    (
        "v.yaml",
        "handlers: {}\n",
        "v.yaml:1:1: error: the config has no sources, so no event can come in",
        "add one: `sources: { demo: { type: generate, rate: 1 } }`",
    ),
    (
        "v.yaml",
        "sources: {}\n",
        "v.yaml:1:1: error: the config has no sources, so no event can come in",
        "add one: `sources: { demo: { type: generate, rate: 1 } }`",
    ),
    (
        "v.yaml",
        "- a\n- b\n",
        "v.yaml:1:1: error: a config file must be a mapping of sections such as `sources:`, not a list or a text",
        "",
    ),
    (
        "v.yaml",
        "sources: { in: { type: stdin } }\n---\nsinks: {}\n",
        "v.yaml:2:1: error: a second YAML document in one file",
        "put it into a file of its own and give both with -c",
    ),
    (
        "v.yaml",
        "sources:\n  in:\n    type: stdin\n   path: x\n",
        "v.yaml:4:4: error: not valid YAML: while parsing a block mapping, did not find expected key",
        "entries of one mapping begin in one column",
    ),
    (
        "v.yaml",
        "sources:\n\tin: {}\n",
        "v.yaml:2:2: error: not valid YAML: tabs disallowed within this context (block indentation)",
        "indent by spaces",
    ),
    (
        "v.yaml",
        "? [a]\n: b\n",
        "v.yaml:1:3: error: a key must be a text, not a mapping or list",
        "",
    ),
    (
        "v.yaml",
        "sources: { in: { type: kafka } }\n",
        "v.yaml:1:24: error: `sources.in`: unknown source type `kafka`",
        "source types are `http`, `tcp`, `stdin`, `file` and `generate`",
    ),
    (
        "v.yaml",
        "sources: { in: { type: stdin, durability: upstream } }\n",
        "v.yaml:1:43: error: `sources.in`: a source of type `stdin` has no `durability: upstream`",
        "it knows `journal` and `none`",
    ),
    (
        "v.yaml",
        "sources: { in: { type: stdin } }\njournal: { segment: 64KiB }\n",
        "v.yaml:2:21: error: `journal.segment`: `64KiB` is less than 1MiB",
        "give 1MiB or more",
    ),
    (
        "v.yaml",
        "sources: { in: { type: stdin, durability: disk } }\n",
        "v.yaml:1:43: error: `sources.in.durability`: unknown value `disk`",
        "valid values are `journal`, `upstream` and `none`",
    ),
    (
        "v.yaml",
        "sources: { in: { type: http, listen: \"127.0.0.1:1\", envelope: { type: a, source: b, id: c } } }\n",
        "v.yaml:1:53: error: `sources.in`: a source of type `http` takes no `envelope`",
        "`tcp`, `stdin` and `file` sources take one",
    ),
    (
        "v.yaml",
        "sources: { in: { type: stdin, envelope: { type: a, id: b } } }\n",
        "v.yaml:1:31: error: `sources.in.envelope` lacks the key `source`",
        "`source`: the event's source, such as `'/app'`",
    ),
    (
        "v.yaml",
        "sources: { in: { type: stdin, envelope: { type: a, source: b, id: \"c ?? d\" } } }\n",
        "v.yaml:1:67: error: `sources.in.envelope.id`: `c ?? d` is not an expression",
        "",
    ),
    (
        "v.yaml",
        "sources: { in: { type: stdin, envelope: [a, b, c] } }\n",
        "v.yaml:1:31: error: `sources.in.envelope` must be a mapping, not a list",
        "",
    ),
    (
        "v.yaml",
        "sources: { in: { type: http, listen: \"127.0.0.1:1\", auth: { baerer: x } } }\n",
        "v.yaml:1:53: error: `sources.in.auth` lacks the key `bearer`",
        "",
    ),
    (
        "v.yaml",
        "sources: { in: { type: http, listen: \"127.0.0.1:1\", max_body: 1Mb } }\n",
        "v.yaml:1:63: error: `sources.in.max_body`: `1Mb` is not a size; write a whole number with a unit: `512B`, `64KiB`, `256MiB`, `1GiB` (powers of 1024) or `KB`, `MB`, `GB` (powers of 1000)",
        "",
    ),
    (
        "v.yaml",
        "sources: { in: { type: generate, types: { a: -1 } } }\n",
        "v.yaml:1:46: error: `sources.in.types.a` must be a whole number from 0 to 4294967295, not the number -1",
        "",
    ),
    (
        "v.yaml",
        "sources:\n  a: { type: http, listen: \"127.0.0.1:8080\" }\n  b: { type: tcp, listen: \"0.0.0.0:8080\" }\n",
        "v.yaml:3:27: error: `sources.b` listens on 0.0.0.0:8080, which `sources.a` does already",
        "",
    ),
    (
        "v.yaml",
        "service: { admin: { listen: \"127.0.0.1:1\" } }\nsources: { a: { type: http, listen: \"127.0.0.1:1\" } }\n",
        "v.yaml:2:37: error: `sources.a` listens on 127.0.0.1:1, which `service.admin` does already",
        "",
    ),
    (
        "v.yaml",
        "sources: { in: { type: stdin } }\nsinks:\n  a: { type: file, path: out/x }\n  b: { type: file, path: ./out/x }\n",
        "v.yaml:4:26: error: `sinks.b` writes to `./out/x`, which `sinks.a` does already",
        "",
    ),
    (
        "v.yaml",
        "sources: { in: { type: stdin } }\nsinks: { router: { type: stdout } }\n",
        "v.yaml:2:10: error: `router` cannot be the name of a sink",
        "`router`, `dead-letter` and `drop` have a meaning of their own",
    ),
    (
        "v.yaml",
        "sources: { in: { type: stdin } }\nsinks: { a: { type: http, url: x, retry: { max_elapsed: 1hour } , header: {} } }\n",
        "v.yaml:2:67: error: unknown key `header` in `sinks.a`",
        "did you mean `headers`? valid keys are `url`, `headers`, `concurrency`, `retry` and `type`",
    ),
    (
        "v.yaml",
        "sources: { in: { type: stdin } }\nsinks: { a: { type: http, url: x, retry: { max_elapsed: forever } } }\n",
        "v.yaml:2:57: error: `sinks.a.retry.max_elapsed`: `forever` is not a duration; write a number with a unit, such as `50ms`, `10s`, `5m`, `1h` or `1h 30m`",
        "",
    ),
    (
        "v.yaml",
        "sources: { in: { type: stdin } }\nsinks: { a: { type: http, url: x, concurrency: 300 } }\n",
        "v.yaml:2:48: error: `sinks.a.concurrency` must be a whole number from 0 to 255, not the number 300",
        "",
    ),
    (
        "v.toml",
        "[sources.in]\ntype = stdin\n",
        "v.toml:2:8: error: not valid TOML: string values must be quoted, expected literal string",
        "",
    ),
    (
        "v.toml",
        "[sources.in]\ntype = \"stdin\"\ntype = \"tcp\"\n",
        "v.toml:3:1: error: not valid TOML: duplicate key",
        "",
    ),
    (
        "v.toml",
        "[sources.in]\ntype = \"sdtin\"\n",
        "v.toml:2:8: error: `sources.in`: unknown source type `sdtin`",
        "did you mean `stdin`? source types are `http`, `tcp`, `stdin`, `file` and `generate`",
    ),
    (
        "v.toml",
        "[sources.\"in.one\"]\ntype = \"stdin\"\n",
        "v.toml:1:10: error: `sources.\"in.one\"` is no valid name: use letters, digits, `_` and `-`, 64 at most",
        "",
    ),
    (
        "v.json",
        "{ \"sources\": { \"in\": { \"type\": \"stdin\", } } }",
        "v.json:1:41: error: not valid JSON: key must be a string",
        "keys stand in double quotes, and no comma follows the last entry",
    ),
    (
        "v.json",
        "{ \"sources\": { \"in\": { \"type\": \"stdin\" } }, \"sources\": {} }",
        "v.json:1:45: error: duplicate key `sources`; it already stands in line 1",
        "",
    ),
    (
        "v.json",
        "{\n\t\"sources\": {\n\t\t\"in\": { \"type\": \"stdin\", \"pth\": 1 }\n\t}\n}",
        "v.json:3:28: error: unknown key `pth` in `sources.in`",
        "valid keys are `type`, `durability` and `envelope`",
    ),
    (
        "v.ini",
        "",
        "error: config file `v.ini`: the format is told by the extension",
        "valid extensions are `.yaml`, `.yml`, `.toml` and `.json`",
    ),
];

/// The first error and the help below it, if there is one.
fn first_error(name: &str, text: &str) -> (String, String) {
    let failure = load(&[(name, text)], &[]).expect_err(text);
    assert!(failure.problems.has_errors());
    let mut lines = failure
        .text
        .lines()
        .skip_while(|line| !line.contains("error: "));
    let error = lines.next().unwrap_or_default().to_owned();
    let help = lines
        .take_while(|line| line.starts_with("  "))
        .find_map(|line| line.strip_prefix("  help: "));
    (error, help.unwrap_or_default().to_owned())
}

#[test]
fn each_broken_config_is_told_what_is_wrong() {
    let after_prelude = CASES
        .iter()
        .map(|(text, error, help)| ("v.yaml", format!("{PRELUDE}{text}\n"), error, help));
    let whole = FILES
        .iter()
        .map(|(name, text, error, help)| (*name, (*text).to_owned(), error, help));
    let mut wrong = Vec::new();
    for (name, text, error, help) in after_prelude.chain(whole) {
        let found = first_error(name, &text);
        if found != ((*error).to_owned(), (*help).to_owned()) {
            wrong.push(format!(
                "{text}\nexpected {error}\n  help: {help}\nfound    {}\n  help: {}",
                found.0, found.1
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
