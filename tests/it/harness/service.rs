//! A whole service for one test: the real program, a database, a virtual host and providers of its own.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
};

use bellwether::{
    clock::Clock,
    ledger::{Ledger, LedgerOptions},
    model::{JobId, JobKey, ProducerId},
    simulator::{NewPhone, Platform, Simulator, SimulatorConfig},
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::{
    broker::{Broker, PATIENCE, TestClient, eventually, within},
    database::TestDatabase,
};

/// The app of the shipped policy.
pub(crate) const APP: &str = "pl.example.bank";

/// The shipped policy's producers. On the broker, and so in the policy of a test, each has a name of the test's own.
const PRODUCERS: [&str; 4] = ["cards", "marketing", "qa", "mobile-backend"];

/// Everything that the program needs around it.
pub(crate) struct Stage {
    pub(crate) broker: Broker,
    pub(crate) simulator: Simulator,
    database: TestDatabase,
    folder: TempDir,
    producers: BTreeMap<&'static str, String>,
}

/// A phone and its owner.
#[derive(Debug, Clone)]
pub(crate) struct TestPhone {
    pub(crate) user: String,
    pub(crate) platform: Platform,
    pub(crate) token: String,
}

impl TestPhone {
    pub(crate) fn ios(user: &str) -> Self {
        Self { user: user.to_owned(), platform: Platform::Ios, token: hex(user) }
    }

    pub(crate) fn android(user: &str) -> Self {
        let token = format!("{}:APA91b{}", &hex(user)[..22], hex(user));
        Self { user: user.to_owned(), platform: Platform::Android, token }
    }
}

fn hex(text: &str) -> String {
    bellwether::model::Digest::of(text.as_bytes()).to_string()
}

impl Stage {
    /// Quiet providers, everything recorded, the shipped policy, nobody registered.
    pub(crate) async fn set() -> Self {
        Self::with(SimulatorConfig::quiet(Clock::system()), "").await
    }

    /// The same with other providers and further lines of configuration.
    pub(crate) async fn with(simulator: SimulatorConfig, configuration: &str) -> Self {
        let (broker, database) = tokio::join!(Broker::start(), TestDatabase::create());
        Self::on(broker, database, simulator, configuration).await
    }

    /// The same on servers of the test's own.
    pub(crate) async fn on(
        broker: Broker,
        database: TestDatabase,
        simulator: SimulatorConfig,
        configuration: &str,
    ) -> Self {
        let simulator = Simulator::start(simulator).await.expect("the simulators start");
        let folder = TempDir::new().expect("a folder");
        let mut producers = BTreeMap::new();
        for name in PRODUCERS {
            producers.insert(name, broker.producer(name).await);
        }
        let stage = Self { broker, simulator, database, folder, producers };
        stage.write_policy();
        stage.configure(configuration);
        stage
    }

    /// The name that a producer of the shipped policy has in this test.
    pub(crate) fn producer(&self, name: &str) -> &str {
        &self.producers[name]
    }

    /// Where the configuration is, and the policy folder `audiences` beside it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn write_policy(&self) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("audiences");
        let to = self.folder().join("audiences");
        for part in ["", "cohorts", "plans"] {
            std::fs::create_dir_all(to.join(part)).expect("a folder");
            for entry in std::fs::read_dir(from.join(part)).expect("the shipped policy") {
                let entry = entry.expect("an entry");
                if entry.file_type().expect("a type").is_file() {
                    std::fs::copy(entry.path(), to.join(part).join(entry.file_name())).expect("a copy");
                }
            }
        }
        // Nobody outside this machine is asked for a number.
        for file in ["apps.toml", "plans/urgent.toml"].map(|file| to.join(file)) {
            let text = std::fs::read_to_string(&file).expect("a file of the policy");
            let text = text.replace("https://status.bank.example.pl/", "http://127.0.0.1:1/");
            std::fs::write(&file, text).expect("the file is written");
        }
        // Tests say the same again and again, and send what is stopped before what is not.
        let file = to.join("apps.toml");
        let text = std::fs::read_to_string(&file).expect("apps.toml");
        let app = format!("[apps.{APP:?}]\n");
        assert!(text.contains(&app), "the app is there");
        let shadow = format!("{app}guard = {{ shadow = [\"contagion\", \"duplicate-campaign\"] }}\n");
        std::fs::write(&file, text.replace(&app, &shadow)).expect("apps.toml is written");
        let file = to.join("producers.toml");
        let mut text = std::fs::read_to_string(&file).expect("producers.toml");
        for (name, own) in &self.producers {
            text = text.replace(&format!("producers.{name}"), &format!("producers.{own}"));
        }
        std::fs::write(&file, text).expect("producers.toml is written");
    }

    /// Writes the configuration, with further lines in it. They begin at the top of the file, so that a setting of the
    /// broker's is a line such as `amqp.single_producer = …`.
    pub(crate) fn configure(&self, more: &str) {
        let files = self.simulator.write_credentials(self.folder()).expect("throw-away credentials");
        let text = format!(
            "ledger.url = {ledger:?}\namqp.url = {amqp:?}\nlisten.health = \"127.0.0.1:0\"\napi.listen = \"127.0.0.1:0\"\n{more}\n\
             [providers.{APP:?}.apns]\nkey_file = {key:?}\nkey_id = {key_id:?}\nendpoint = {apns:?}\n\
             sandbox_endpoint = {apns:?}\nca_file = {ca:?}\n\
             [providers.{APP:?}.fcm]\nservice_account_file = {account:?}\nendpoint = {fcm:?}\nca_file = {ca:?}\n",
            ledger = self.database.url(),
            amqp = self.broker.url(self.broker.service()),
            key = files.apns_key.to_string_lossy(),
            key_id = self.simulator.credentials().apns_key_id,
            apns = self.simulator.apns_endpoint(),
            fcm = self.simulator.fcm_endpoint(),
            account = files.service_account.to_string_lossy(),
            ca = files.ca.to_string_lossy(),
        );
        std::fs::write(self.configuration(), text).expect("the configuration is written");
    }

    /// The configuration file.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder().join("bellwether.toml")
    }

    /// The program, with this stage's configuration and nothing of the test's own environment that would override it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        command.arg("--config").arg(self.configuration()).args(arguments);
        command.env_remove("DATABASE_URL").env_remove("AMQP_URL");
        command.env_remove("BELLWETHER_URL").env_remove("BELLWETHER_TOKEN").env_remove("BELLWETHER_CA_FILE");
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        within("a command", self.command(arguments).output()).await.expect("the program runs")
    }

    /// Registers phones with their provider and, by `device import`, with the service.
    pub(crate) async fn register(&self, phones: &[TestPhone]) {
        self.simulator
            .register(phones.iter().map(|phone| NewPhone::new(phone.platform, phone.token.clone())));
        let now = Clock::system().now().to_string();
        let line = |phone: &TestPhone| {
            let platform = match phone.platform {
                Platform::Ios => "ios",
                Platform::Android => "android",
            };
            json!({"user_id": phone.user, "app": APP, "platform": platform, "environment": "production",
                   "token": phone.token, "language": "pl", "country": "PL", "last_seen_at": now})
            .to_string()
        };
        let file = self.folder().join("devices.ndjson");
        let lines: Vec<_> = phones.iter().map(line).collect();
        std::fs::write(&file, lines.join("\n")).expect("a file of devices");
        let imported = self.run(&["device", "import", &file.to_string_lossy()]).await;
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    }

    /// A producer's own connection to the broker.
    pub(crate) async fn client(&self, producer: &str) -> TestClient {
        self.broker.client(self.producer(producer)).await
    }

    /// A job of the shipped policy's app to these users.
    pub(crate) fn job(id: &str, intent: &str, users: &[&str], body: &str) -> Value {
        json!({"v": 1, "id": id, "app": APP, "intent": intent, "to": {"users": users},
               "notification": {"title": "Bank", "body": body}})
    }

    /// What a person would see, with what differs from run to run masked: folders, hosts, names of this test's own.
    pub(crate) fn masked(&self, text: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(text).replace(&*self.folder().to_string_lossy(), "DIR");
        for (name, own) in &self.producers {
            text = text.replace(own, name);
        }
        text
    }

    /// The database's own address.
    pub(crate) fn database(&self) -> String {
        self.database.url()
    }

    /// Brings forward whatever waits in the ledger, as if its wait was over.
    pub(crate) async fn bring_forward(&self) {
        let mut database = PgConnection::connect(&self.database()).await.expect("the database answers");
        sqlx::query("update direct_job set due_at = 0 where due_at is not null")
            .execute(&mut database)
            .await
            .expect("the jobs are brought forward");
        database.close().await.expect("the database is there");
    }

    /// The key of a producer's job.
    pub(crate) fn key(&self, producer: &str, id: &str) -> JobKey {
        let producer = ProducerId::parse(self.producer(producer)).expect("a producer's name");
        JobKey { producer, id: JobId::parse(id).expect("a job id") }
    }

    /// Where its database is.
    pub(crate) fn database_url(&self) -> String {
        self.database.url()
    }

    /// The ledger, as the service sees it.
    pub(crate) async fn ledger(&self) -> Ledger {
        let url = self.database.url();
        within("the ledger", Ledger::connect(&url, LedgerOptions::default())).await.expect("the ledger opens")
    }

    /// Starts the service and waits until it is ready.
    pub(crate) async fn serve(&self) -> Serving {
        let serving = self.serve_unready().await;
        eventually("ready", async || (serving.get("/readyz").await.0 == 200).then_some(())).await;
        serving
    }

    /// Starts the service and waits until it listens.
    pub(crate) async fn serve_unready(&self) -> Serving {
        self.start(self.command(&["serve"])).await
    }

    /// Starts the service by a command of the test's own and waits until it listens.
    pub(crate) async fn start(&self, mut command: Command) -> Serving {
        let log = self.folder().join(format!("serve-{:016x}.log", Clock::system().seed()));
        let file = std::fs::File::create(&log).expect("a log file");
        let mut child = command.stderr(file).spawn().expect("the program starts");
        let listen = eventually("the service listens", async || {
            let text = std::fs::read_to_string(&log).ok()?;
            let ended = child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "the service ended: {ended:?}\n{text}");
            let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.find_map(|line| line["listen"].as_str()?.parse().ok())
        })
        .await;
        Serving { child, listen, log }
    }
}

/// The service while it runs. Dropped, it is killed.
pub(crate) struct Serving {
    child: Child,
    listen: SocketAddr,
    log: PathBuf,
}

impl Serving {
    /// Asks its health listener; the status and the text.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer =
            reqwest::get(format!("http://{}{path}", self.listen)).await.expect("the service answers");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    }

    /// Where its operators' API listens; `None` if it has none.
    pub(crate) fn api(&self) -> Option<SocketAddr> {
        let text = self.log();
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find_map(|line| line["api"].as_str()?.parse().ok())
    }

    /// The sum of a metric over the series whose line contains every one of `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let wanted = |line: &&str| {
            let is_name = line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            is_name && labels.iter().all(|label| line.contains(label))
        };
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        text.lines().filter(wanted).filter_map(value).sum()
    }

    /// Everything that it logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log")
    }

    /// Where it logs.
    pub(crate) fn log_file(&self) -> &Path {
        &self.log
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it was running");
    }

    /// SIGTERM, and waits until it has drained.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.terminate().await;
        self.ended().await
    }

    /// SIGTERM.
    pub(crate) async fn terminate(&self) {
        let killed = Command::new("kill").arg(self.pid().to_string()).status().await.expect("kill runs");
        assert!(killed.success(), "it was running");
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let Ok(ended) = timeout(PATIENCE, self.child.wait()).await else {
            panic!("the service has not ended within {PATIENCE:?}; its log:\n{}", self.log());
        };
        ended.expect("it ends")
    }
}
