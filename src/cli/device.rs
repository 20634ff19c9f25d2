//! `bellwether device`: import registrations, look devices up, forget them.

mod import;
mod progress;
mod refused;

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::json;

use self::import::ImportArgs;
use super::{Exit, Output, exit::With, ledger, output};
use crate::{
    ledger::{DeviceRecord, Erasure},
    model::{AppId, DeviceId, OperatorName, UserId, registration_schema},
};

/// What can be done with devices.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Device {
    /// Import registrations; lines that cannot be read are listed, the others are imported
    Import(ImportArgs),
    /// Print the JSON Schema of a registration, as producers publish it on `bellwether.devices`
    Schema,
    /// Show a person's devices, or one device; never its token
    #[command(group(clap::ArgGroup::new("whose").args(["user", "device"]).required(true)))]
    Show {
        /// The person
        #[arg(long, value_name = "USER")]
        user: Option<UserId>,
        /// The device's id
        #[arg(long, value_name = "UUID")]
        device: Option<uuid::Uuid>,
    },
    /// Erase a person's devices, or one device: token and user go, what was sent still counts; there is no way back
    Forget(Forget),
}

/// What `forget` understands.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whose").args(["user", "device"]).required(true)))]
pub(super) struct Forget {
    /// The person
    #[arg(long, value_name = "USER")]
    user: Option<UserId>,
    /// Only the person's devices of this app
    #[arg(long, value_name = "APP", requires = "user")]
    app: Option<AppId>,
    /// The device's id
    #[arg(long, value_name = "UUID")]
    device: Option<uuid::Uuid>,
    /// Who you are; it stands in the audit log
    #[arg(long = "by", value_name = "NAME", env = "USER")]
    by: Option<OperatorName>,
    /// Say how many it would be, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
pub(super) async fn run(config: &Path, output: Output, verb: Device) -> anyhow::Result<Exit> {
    match verb {
        Device::Import(args) => import::run(config, output, args).await,
        Device::Schema => output::print_json(&registration_schema()).map(|()| Exit::Ok),
        Device::Show { user, device } => show(config, output, user, device).await,
        Device::Forget(args) => forget(config, output, args).await,
    }
}

async fn show(
    config: &Path,
    output: Output,
    user: Option<UserId>,
    device: Option<uuid::Uuid>,
) -> anyhow::Result<Exit> {
    let ledger = ledger::open(config).await?;
    let devices = match (&user, device) {
        (Some(user), _) => ledger.devices_of(None, user).await?,
        (None, Some(id)) => ledger.device(DeviceId::from_uuid(id)).await?.into_iter().collect(),
        (None, None) => bail!("name a person with --user, or a device with --device"),
    };
    if devices.is_empty() {
        return Err(With(Exit::NotFound, "no such device is registered".to_owned()).into());
    }
    match output {
        Output::Json | Output::Yaml => output.print(&devices.iter().map(as_json).collect::<Vec<_>>())?,
        Output::Table => {
            let rows: Vec<_> = devices.iter().map(as_row).collect();
            let header = [
                "device",
                "user",
                "app",
                "platform",
                "environment",
                "language",
                "tags",
                "attributes",
                "registered",
                "gone",
            ];
            output::line(&output::table(&header, &rows))?;
        }
    }
    Ok(Exit::Ok)
}

async fn forget(config: &Path, output: Output, args: Forget) -> anyhow::Result<Exit> {
    let erasure = match (args.user, args.device) {
        (Some(user), _) => Erasure::User(user, args.app),
        (None, Some(id)) => Erasure::Device(DeviceId::from_uuid(id)),
        (None, None) => bail!("name a person with --user, or a device with --device"),
    };
    let Some(by) = args.by else { bail!("say who you are with --by NAME; it stands in the audit log") };
    let ledger = ledger::open(config).await?;
    let devices = if args.dry_run {
        ledger.count_to_forget(&erasure).await?
    } else {
        ledger.forget_devices(&erasure, by.as_str()).await.context("nothing is forgotten")?
    };
    if devices == 0 {
        return Err(With(Exit::NotFound, "no such device is registered".to_owned()).into());
    }
    let noun = if devices == 1 { "device" } else { "devices" };
    match (output, args.dry_run) {
        (Output::Json | Output::Yaml, dry_run) => {
            output.print(&json!({ "devices": devices, "dry_run": dry_run }))?;
        }
        (Output::Table, true) => output::line(&format!("{devices} {noun} would be forgotten"))?,
        (Output::Table, false) => output::line(&format!("{devices} {noun} forgotten"))?,
    }
    Ok(Exit::Ok)
}

fn as_json(record: &DeviceRecord) -> serde_json::Value {
    let device = &record.device;
    json!({
        "device": device.id, "user": device.user, "app": device.app, "platform": device.platform,
        "environment": device.environment, "language": device.language, "country": record.country,
        "timezone": record.timezone, "app_version": record.app_version, "last_seen_at": record.last_seen_at,
        "tags": record.tags, "attributes": record.attributes,
        "registered_at": device.registered_at, "gone_at": record.gone_at,
    })
}

fn as_row(record: &DeviceRecord) -> Vec<String> {
    let device = &record.device;
    vec![
        device.id.to_string(),
        output::visible(device.user.as_str()),
        device.app.to_string(),
        device.platform.as_str().to_owned(),
        device.environment.as_str().to_owned(),
        device.language.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        unless(record.tags.is_empty(), || record.tags.iter().collect::<Vec<_>>().join(";")),
        unless(record.attributes.is_empty(), || json!(record.attributes).to_string()),
        device.registered_at.to_string(),
        record.gone_at.map_or_else(|| "-".to_owned(), |at| at.to_string()),
    ]
}

fn unless(is_empty: bool, text: impl FnOnce() -> String) -> String {
    if is_empty { "-".to_owned() } else { output::visible(&text()) }
}
