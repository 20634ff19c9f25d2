//! A virtual host of its own for each test, on the broker of `AMQP_URL`, with users of its own: made and deleted
//! through the management API (`AMQP_ADMIN_URL`). `deploy/services.sh env DIR` prints both.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bellwether::{
    clock::Clock,
    intake::{Ladder, RabbitMqConfig},
};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    message::Delivery,
    options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::FieldTable,
};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Value, json};
use tokio::time::{interval, timeout};

/// No test waits longer than this for anything: well above what a loaded machine needs, well below a stuck run.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at that nothing tells us about.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits for a future, or fails the test.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Looks until there is something, or fails the test.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = interval(LOOK_EVERY);
    within(what, async {
        loop {
            ticks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    })
    .await
}

/// A virtual host and its users.
pub(crate) struct Broker {
    amqp: Url,
    api: Api,
    vhost: String,
    service: String,
    passwords: Mutex<Vec<(String, String)>>,
}

/// The management API (<https://www.rabbitmq.com/docs/management#http-api>).
#[derive(Clone)]
struct Api {
    url: Url,
    client: Client,
}

impl Api {
    fn new(url: &str) -> Self {
        // Plain HTTP on loopback, but the client wants to know who would do TLS.
        let _already_installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self { url: url.parse().expect("AMQP_ADMIN_URL is a URL"), client: Client::new() }
    }

    async fn call(&self, method: Method, path: &[&str], body: Value) -> StatusCode {
        let mut url = self.url.clone();
        url.path_segments_mut().expect("an HTTP URL has a path").clear().push("api").extend(path);
        let answer = self.client.request(method, url).json(&body).send().await;
        answer.expect("the management API answers").status()
    }

    async fn put(&self, path: &[&str], body: Value) {
        let status = self.call(Method::PUT, path, body).await;
        assert!(status.is_success(), "{path:?}: {status}");
    }
}

/// 128 bits nobody guesses, and no two tests share.
fn unique() -> String {
    let clock = Clock::system();
    format!("{:016x}{:016x}", clock.seed(), clock.seed())
}

impl Broker {
    /// On the broker that all tests share.
    pub(crate) async fn start() -> Self {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| {
                panic!("{name} is not set; see deploy/services.sh, or run deploy/test.sh")
            })
        };
        Self::on(&variable("AMQP_URL"), &variable("AMQP_ADMIN_URL")).await
    }

    /// On the given broker.
    pub(crate) async fn on(amqp: &str, admin: &str) -> Self {
        let api = Api::new(admin);
        let vhost = format!("test-{}", unique());
        api.put(&["vhosts", &vhost], json!({})).await;
        let amqp = amqp.parse().expect("AMQP_URL is a URL");
        let mut broker = Self { amqp, api, vhost, service: String::new(), passwords: Mutex::default() };
        broker.service = broker.add_user("bellwether", ".*", ".*", ".*").await;
        broker
    }

    /// A producer: it may publish jobs and registrations, and nothing else. The name is its producer id.
    pub(crate) async fn producer(&self, name: &str) -> String {
        self.add_user(name, "^$", r"^bellwether\.(jobs|devices)$", "^$").await
    }

    async fn add_user(&self, name: &str, configure: &str, write: &str, read: &str) -> String {
        // Users belong to the whole broker: other tests have theirs.
        let user = format!("{name}-{}", &unique()[..16]);
        let password = unique();
        self.api.put(&["users", &user], json!({ "password": password, "tags": "" })).await;
        let permissions = json!({ "configure": configure, "write": write, "read": read });
        self.api.put(&["permissions", &self.vhost, &user], permissions).await;
        self.passwords.lock().unwrap_or_else(PoisonError::into_inner).push((user.clone(), password));
        user
    }

    /// The service's own user.
    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    /// Where `user` connects.
    pub(crate) fn url(&self, user: &str) -> String {
        self.url_at(user, &self.amqp)
    }

    /// The same, on another listener of the same broker.
    pub(crate) fn url_at(&self, user: &str, listener: &Url) -> String {
        let passwords = self.passwords.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, password) = passwords.iter().find(|(known, _)| known == user).expect("a user of this test");
        let (scheme, host) = (listener.scheme(), listener.host_str().expect("a host"));
        let port = listener.port().expect("a port");
        format!("{scheme}://{user}:{password}@{host}:{port}/{}", self.vhost)
    }

    /// The service's configuration, with a ladder that a test can wait for.
    pub(crate) fn config(&self) -> RabbitMqConfig {
        let mut config = RabbitMqConfig::new(&self.url(&self.service)).expect("a URL");
        config.ladder = Ladder::of([50, 100, 150, 200, 250].map(Duration::from_millis));
        config
    }

    /// A client of the test's own.
    pub(crate) async fn client(&self, user: &str) -> TestClient {
        let url = self.url(user);
        let connection = Connection::connect(&url, ConnectionProperties::default());
        let connection = within("a connection", connection).await.expect("the broker accepts it");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        TestClient { user: user.to_owned(), _connection: connection, channel }
    }

    /// Cuts every connection of a user, as an operator could.
    pub(crate) async fn cut(&self, user: &str) {
        let status = self.api.call(Method::DELETE, &["connections", "username", user], json!(null)).await;
        assert!(status.is_success(), "{status}");
    }

    /// Deletes a queue behind the service's back.
    pub(crate) async fn delete_queue(&self, queue: &str) {
        let status = self.api.call(Method::DELETE, &["queues", &self.vhost, queue], json!(null)).await;
        assert!(status.is_success(), "{status}");
    }
}

impl Drop for Broker {
    /// Also after a test has failed. A thread of its own, because a test's runtime cannot be waited for from within.
    fn drop(&mut self) {
        let (api, vhost) = (self.api.clone(), std::mem::take(&mut self.vhost));
        let users = std::mem::take(&mut *self.passwords.lock().unwrap_or_else(PoisonError::into_inner));
        let clean = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let api = Api { client: Client::new(), ..api };
                let gone = api.call(Method::DELETE, &["vhosts", &vhost], json!(null)).await;
                assert!(gone.is_success(), "{vhost}: {gone}");
                for (user, _) in users {
                    api.call(Method::DELETE, &["users", &user], json!(null)).await;
                }
            });
        };
        let cleaned = std::thread::spawn(clean).join();
        assert!(cleaned.is_ok() || std::thread::panicking(), "the virtual host was not deleted");
    }
}

/// A connection with one channel, as a backend would have.
pub(crate) struct TestClient {
    user: String,
    _connection: Connection,
    /// In confirm mode.
    pub(crate) channel: Channel,
}

impl TestClient {
    /// Properties under this client's own `user_id`.
    pub(crate) fn properties(&self) -> BasicProperties {
        BasicProperties::default().with_user_id(self.user.as_str().into()).with_delivery_mode(2)
    }

    /// Publishes, and waits for the confirm.
    pub(crate) async fn publish(
        &self,
        exchange: &str,
        key: &str,
        properties: BasicProperties,
        body: &[u8],
    ) -> lapin::Result<()> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publishing = self.channel.basic_publish(exchange.into(), key.into(), options, body, properties);
        let confirmed = within("a confirm", async { publishing.await?.await }).await?;
        assert!(confirmed.is_ack() && confirmed.take_message().is_none(), "{exchange}/{key}: not in a queue");
        Ok(())
    }

    /// Puts a job on the direct lane.
    pub(crate) async fn enqueue(&self, body: &str) {
        let published = self.publish("bellwether.jobs", "direct", self.properties(), body.as_bytes());
        published.await.expect("the producer may publish jobs");
    }

    /// Says something of a device.
    pub(crate) async fn say(&self, registration: &Value) {
        let body = registration.to_string();
        let published = self.publish("bellwether.devices", "devices", self.properties(), body.as_bytes());
        published.await.expect("the producer may say what it knows");
    }

    /// Takes the next message of a queue, for good.
    pub(crate) async fn take(&self, queue: &str) -> Delivery {
        let options = BasicGetOptions { no_ack: true };
        eventually(queue, async || {
            let got = self.channel.basic_get(queue.into(), options).await.expect("the queue is there");
            got.map(|message| message.delivery)
        })
        .await
    }

    /// How many messages are ready in a queue; `None` if there is no such queue (the channel is closed then).
    pub(crate) async fn ready(&self, queue: &str) -> Option<u32> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        declared.ok().map(|queue| queue.message_count())
    }
}
