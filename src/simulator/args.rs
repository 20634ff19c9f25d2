//! `bellwether simulator`: the simulator as a process of its own.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    Environment, Latency, Profile, RecordDetail, Simulator, SimulatorConfig, SimulatorError, bank::Terms,
    inspect::addresses,
};
use crate::clock::Clock;

/// Faults that come by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Faults {
    /// An ordinary day: 94 of 100 requests are accepted.
    Default,
    /// None.
    None,
}

/// Simulate APNs and FCM on loopback.
#[derive(Clone, Debug, Args)]
pub struct SimulatorArgs {
    /// Port of APNs; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    apns_port: u16,
    /// Port of FCM.
    #[arg(long, default_value_t = 0)]
    fcm_port: u16,
    /// Port of FCM's token endpoint.
    #[arg(long, default_value_t = 0)]
    oauth_port: u16,
    /// Port of the inspection endpoint (plain HTTP).
    #[arg(long, default_value_t = 0)]
    inspect_port: u16,
    /// Have those whose phones ring open the app, and show what its login feels: /login (JSON) and /login/metrics
    /// (Prometheus) of the inspection endpoint.
    #[arg(long)]
    login: bool,
    /// The median of the answers' latency, such as 70ms or 1s; 0 answers at once.
    #[arg(long, default_value = "70ms", value_parser = parse_latency)]
    latency: Duration,
    /// Faults that come by themselves.
    #[arg(long, value_enum, default_value = "default")]
    faults: Faults,
    /// The fate of tokens and everything else that is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Phones to register and to write to devices.ndjson.
    #[arg(long, default_value_t = 0)]
    phones: u64,
    /// A bundle id that may be sent to; repeatable. Phones have the first.
    #[arg(long = "topic", default_value = "pl.example.bank")]
    topics: Vec<String>,
    /// The app's name in devices.ndjson; the first topic, unless given.
    #[arg(long)]
    app: Option<String>,
    /// The FCM project.
    #[arg(long, default_value = "bank-prod")]
    project: String,
    /// The Apple team.
    #[arg(long, default_value = "TEAM123456")]
    team: String,
    /// Which of Apple's two worlds this is.
    #[arg(long, value_enum, default_value = "production")]
    environment: Environment,
    /// How much is kept of each request.
    #[arg(long, value_enum, default_value = "full")]
    record: RecordDetail,
    /// Where to write ca.pem, apns-key.p8, service-account.json, simulator.json and devices.ndjson.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

fn parse_latency(text: &str) -> Result<Duration, String> {
    let number = |digits: &str| digits.parse::<u64>().ok();
    let duration = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        _ if text == "0" => Some(Duration::ZERO),
        (Some(digits), _) => number(digits).map(Duration::from_millis),
        (None, Some(digits)) => number(digits).map(Duration::from_secs),
        (None, None) => None,
    };
    duration.ok_or_else(|| "expected 0, or a number with ms or s".to_owned())
}

impl SimulatorArgs {
    fn config(&self, clock: Clock) -> SimulatorConfig {
        let profile = match self.faults {
            Faults::Default => Profile::ordinary(),
            Faults::None => Profile::quiet(),
        };
        let latency = (!self.latency.is_zero()).then(|| Latency::around(self.latency));
        SimulatorConfig {
            seed: self.seed,
            profile: profile.with_latency(latency),
            detail: self.record,
            apns_port: self.apns_port,
            fcm_port: self.fcm_port,
            oauth_port: self.oauth_port,
            inspect_port: Some(self.inspect_port),
            login: self.login.then(Terms::default),
            team: self.team.clone(),
            topics: self.topics.clone(),
            environment: self.environment,
            project: self.project.clone(),
            ..SimulatorConfig::quiet(clock)
        }
    }
}

/// Runs a simulator until `stop`. `announce` gets one line when everything is written and listening.
pub async fn run(
    args: SimulatorArgs,
    clock: Clock,
    stop: CancellationToken,
    announce: impl FnOnce(&str),
) -> Result<(), SimulatorError> {
    let simulator = Simulator::start(args.config(clock)).await?;
    simulator.register_synthetic(args.phones);
    write(&simulator, &args)?;
    let place = args.out.display();
    announce(&format!(
        "simulator ready: APNs {}, FCM {}, inspection {}, {} phones, credentials in {place}",
        simulator.apns_endpoint(),
        simulator.fcm_endpoint(),
        simulator.inspect_endpoint().unwrap_or_default(),
        args.phones,
    ));
    stop.cancelled().await;
    simulator.shutdown().await;
    Ok(())
}

/// `simulator.json` comes last and in one step: whoever waits for it finds everything else there.
fn write(simulator: &Simulator, args: &SimulatorArgs) -> io::Result<()> {
    let files = simulator.write_credentials(&args.out)?;
    let mut about = addresses(simulator);
    about["ca"] = json!(files.ca);
    about["apns_key"] = json!(files.apns_key);
    about["service_account"] = json!(files.service_account);
    about["phones"] = json!(args.phones);
    if args.phones > 0 {
        let path = args.out.join("devices.ndjson");
        write_devices(simulator, args, &path)?;
        about["devices"] = json!(path);
    }
    let (unready, ready) = (args.out.join("simulator.json.new"), args.out.join("simulator.json"));
    fs::write(&unready, format!("{about:#}\n"))?;
    fs::rename(unready, ready)
}

fn write_devices(simulator: &Simulator, args: &SimulatorArgs, path: &Path) -> io::Result<()> {
    let app = args.app.as_ref().unwrap_or(&args.topics[0]);
    let mut file = BufWriter::new(File::create(path)?);
    for number in 0..args.phones {
        serde_json::to_writer(&mut file, &simulator.synthetic(number).device(app))?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse_latency;

    #[test]
    fn latency_is_a_number_with_a_unit_or_zero() {
        assert_eq!(parse_latency("0"), Ok(Duration::ZERO));
        assert_eq!(parse_latency("70ms"), Ok(Duration::from_millis(70)));
        assert_eq!(parse_latency("2s"), Ok(Duration::from_secs(2)));
        for wrong in ["", "70", "ms", "-1s", "1m"] {
            assert!(parse_latency(wrong).is_err(), "{wrong}");
        }
    }
}
