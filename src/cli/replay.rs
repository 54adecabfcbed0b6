//! `veltrix replay`: finished events that the journal of a running process still keeps are sent once more.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::dead_letters::per_second;
use super::{OutputFormat, print_answer};
use crate::admin_client::{AdminArgs, AdminClient, AdminError};
use crate::components::Components;

/// Which events, and where to.
#[derive(Debug, clap::Args)]
pub(super) struct Replay {
    #[command(flatten)]
    admin: AdminArgs,

    /// Those accepted at this time or later: `2026-01-31T12:00:00Z`, or how long ago, such as `10m`.
    #[arg(long, value_name = "TIME")]
    from: String,

    /// Those accepted before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Only events of these types, such as `order.created` or `order.>`.
    #[arg(long = "type", value_name = "PATTERN")]
    event_type: Option<String>,

    /// Only those that this source took in.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Send them to this handler and to nothing else. Without it and --to-sink: to the router.
    #[arg(long, value_name = "NAME", conflicts_with = "to_sink")]
    to_handler: Option<String>,

    /// Send them to this sink, as they came in.
    #[arg(long, value_name = "NAME")]
    to_sink: Option<String>,

    /// Print how many there are, and send none.
    #[arg(long)]
    dry_run: bool,

    /// At most so many in a second.
    #[arg(long, value_name = "NUMBER", value_parser = per_second)]
    rate: Option<u32>,

    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value = "text")]
    output: OutputFormat,
}

impl Replay {
    /// Asks the process and prints its answer.
    pub(super) fn run(self, components: &Components) -> ExitCode {
        print_answer(self.ask(components))
    }

    fn ask(self, components: &Components) -> Result<String, AdminError> {
        let order = json!({
            "from": self.from, "until": self.until, "type": self.event_type, "source": self.source,
            "to_handler": self.to_handler, "to_sink": self.to_sink, "dry_run": self.dry_run, "rate": self.rate,
        });
        let client = AdminClient::locate(&self.admin, components)?;
        let answer = client.post("/api/replay", &order)?;
        Ok(self.output.of(&answer, told))
    }
}

fn told(answer: &Value) -> String {
    let count = &answer["count"];
    match answer["dry_run"] == true {
        true => format!("{count} events would be replayed\n"),
        false => format!("{count} events are being replayed\n"),
    }
}
