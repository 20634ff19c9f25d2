//! Servers of one test's own, by `deploy/services.sh`: what happens to all of them must not happen to the other tests.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::{broker::Broker, database::TestDatabase};

/// A private PostgreSQL and RabbitMQ, or a Prometheus. Dropped, they are stopped and their data is gone; whatever uses them goes first.
pub(crate) struct PrivateServices {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl PrivateServices {
    /// Both, up.
    pub(crate) async fn up() -> Self {
        let folder = tempfile::Builder::new().prefix("bellwether-outage.").tempdir().expect("a folder");
        let mut services = Self { folder, environment: Vec::new() };
        services.run(&["up"]).await;
        services.environment = assignments(&services.run(&["env"]).await);
        services
    }

    /// A Prometheus alone, which scrapes nobody yet.
    pub(crate) async fn prometheus() -> Self {
        let folder = tempfile::Builder::new().prefix("bellwether-prometheus.").tempdir().expect("a folder");
        let mut services = Self { folder, environment: Vec::new() };
        services.run(&["start", "prometheus"]).await;
        services.environment = assignments(&services.run(&["env"]).await);
        services
    }

    /// Where Prometheus answers.
    pub(crate) fn prometheus_url(&self) -> &str {
        self.variable("PROMETHEUS_URL")
    }

    /// Lets Prometheus scrape `address` from now on, every second.
    pub(crate) fn scrape(&self, address: SocketAddr) {
        let targets = format!("[{{\"targets\": [\"{address}\"]}}]");
        std::fs::write(self.variable("PROMETHEUS_TARGETS"), targets).expect("the targets are written");
    }

    /// `services.sh <command> DIR <rest>`.
    pub(crate) async fn run(&self, words: &[&str]) -> String {
        let output = Command::from(self.command(words)).output().await.expect("the script runs");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/services.sh");
        let mut command = std::process::Command::new(script);
        command.arg(words[0]).arg(self.folder.path()).args(&words[1..]);
        command
    }

    fn variable(&self, name: &str) -> &str {
        let found = self.environment.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("services.sh does not tell {name}")).1
    }

    pub(crate) async fn broker(&self) -> Broker {
        Broker::on(self.variable("AMQP_URL"), self.variable("AMQP_ADMIN_URL")).await
    }

    pub(crate) async fn database(&self) -> TestDatabase {
        TestDatabase::create_on(self.variable("DATABASE_URL").to_owned()).await
    }

    /// Makes every process of PostgreSQL hang, until what this gives is dropped: also when the test fails meanwhile,
    /// because cleaning up needs the server.
    ///
    /// A session that was forked while the others were looked up would go on answering. So they are looked up and stopped
    /// until there is none that is not stopped: by then the one that forks is, too.
    pub(crate) fn freeze_postgres(&self) -> Frozen {
        let data = Path::new(self.variable("PGDATA_DIR"));
        let mut frozen = Frozen { pids: processes_in(data) };
        assert!(!frozen.pids.is_empty(), "PostgreSQL runs");
        loop {
            frozen.signal("-STOP");
            let found = processes_in(data);
            if found.iter().all(|pid| is_stopped(pid)) {
                frozen.pids = found;
                return frozen;
            }
            frozen.pids = found;
        }
    }

    /// The share of memory above which the broker blocks publishers.
    pub(crate) async fn set_memory_limit(&self, share: &str) {
        let home = self.folder.path().join("rabbitmq");
        let state = std::fs::read_to_string(self.folder.path().join("state")).expect("the ports");
        let state = assignments(&state);
        let port = |name: &str| &state.iter().find(|(known, _)| known == name).expect("a port").1;
        let output = Command::new(rabbitmqctl())
            .env("HOME", &home)
            .env("ERL_EPMD_PORT", port("EPMD_PORT"))
            .env("ERL_INETRC", home.join("inetrc"))
            .args(["-n", &format!("bellwether{}@localhost", port("AMQP_PORT"))])
            .args(["set_vm_memory_high_watermark", share])
            .output();
        let output = output.await.expect("rabbitmqctl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The processes whose folder this is.
fn processes_in(folder: &Path) -> Vec<String> {
    let lives_there =
        |pid: &String| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|found| found == folder);
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).filter(lives_there).collect()
}

/// True of one that has ended, too.
fn is_stopped(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // The state follows the name, which is in parentheses and may hold anything.
    let state = |stat: String| stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('T'));
    stat.map_or(true, |stat| state(stat).unwrap_or(false))
}

/// A PostgreSQL that neither answers nor refuses.
pub(crate) struct Frozen {
    pids: Vec<String>,
}

impl Frozen {
    fn signal(&self, signal: &str) {
        // One of them may have ended meanwhile: that is no failure.
        let _status = std::process::Command::new("kill").arg(signal).args(&self.pids).status();
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

impl Drop for PrivateServices {
    fn drop(&mut self) {
        let output = self.command(&["down"]).output();
        let is_down = output.is_ok_and(|output| output.status.success());
        assert!(
            is_down || std::thread::panicking(),
            "the servers in {} are left behind",
            self.folder.path().display()
        );
    }
}

/// `NAME=value` and `NAME='value'` lines.
fn assignments(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (name, value) = line.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('\'').to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

fn rabbitmqctl() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/rabbitmq/lib").expect("RabbitMQ is installed");
    let mut found: Vec<_> = installed.flatten().map(|entry| entry.path().join("sbin/rabbitmqctl")).collect();
    found.retain(|path| path.exists());
    found.sort();
    found.pop().expect("RabbitMQ has a rabbitmqctl")
}
