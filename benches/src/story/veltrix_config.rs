//! The Veltrix config that does what the components do: a handler and a sink for each.

use std::fmt::Write;

use veltrix_story_system::LANES;

use super::events::groups_of;
use super::setting::Fault;
use super::system::System;
use super::wiring::Wiring;

pub(crate) fn yaml(system: System, wiring: &Wiring<'_>) -> String {
    let Wiring {
        events,
        setting,
        folder,
        source,
        sinks,
        ..
    } = wiring;
    let data_dir = folder.join("data");
    let admin = match system {
        System::CNoMetrics => "",
        _ => "  admin: { listen: \"127.0.0.1:0\" }\n",
    };
    let source_options = match system {
        System::C => "ack: true, durability: journal",
        _ => "durability: none",
    };
    let supervision = match system {
        System::CNoRetries => "supervision: { attempts: 1 }\n",
        _ => "",
    };
    let mut text = format!(
        "service:\n  name: story\n  data_dir: {data_dir:?}\n{admin}{supervision}\
         sources:\n  feed: {{ type: tcp, listen: \"{source}\", {source_options} }}\nhandlers:\n"
    );
    let mut write = |line: String| {
        writeln!(text, "{line}").expect("a string takes all");
    };
    let fault = setting.fault;
    let work = format!(
        "component: {{component}}, rounds: {}, wait_us: {}, errors_per_10000: {}, panics_per_10000: {}",
        setting.rounds,
        setting.wait_us,
        fault.errors_per_10000(),
        fault.panics_per_10000()
    );
    let kind = match setting.wait_us {
        _ if setting.is_passing => "type: pass".to_owned(),
        0 => format!("type: story, isolation: shared, {work}"),
        _ => format!("type: story-waiting, isolation: shared, lanes: {LANES}, {work}"),
    };
    for component in 0..sinks.len() {
        let groups = groups_of(component, setting.fan_out);
        let types: Vec<String> = groups
            .flat_map(|group| &events.groups[group])
            .map(|event_type| format!("{event_type:?}"))
            .collect();
        let kind = kind.replace("{component}", &component.to_string());
        write(format!(
            "  c{component}: {{ on: [{}], to: s{component}, {kind} }}",
            types.join(", ")
        ));
    }
    write("sinks:".to_owned());
    for (component, sink) in sinks.iter().enumerate() {
        write(match fault.is_over_http() {
            true => format!("  s{component}: {{ type: http, url: \"http://{sink}/\" }}"),
            false => format!("  s{component}: {{ type: tcp, address: \"{sink}\" }}"),
        });
    }
    if fault == Fault::KillComponent {
        let at = setting.warm_up + setting.seconds / 3.0;
        write(format!(
            "faults: {{ inject: [ {{ at: handler.c1, abort_actor: true, from: {}ms, times: 1 }} ] }}",
            (at * 1e3) as u64
        ));
    }
    text
}
