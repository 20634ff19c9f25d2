//! How many people a direct text may still reach, over the whole fleet.
//!
//! - A process leases what it is about to need behind the row's lock, and sends no more than it was given: so the fleet never
//!   reaches more people with a text than its limit. A process that dies takes what it had with it, and a person whom two
//!   processes count is counted twice; both err to refusing.
//! - **I3 unknown-is-no**: without the ledger nothing is leased.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::json;
use sqlx::FromRow;

use super::{
    Ledger, LedgerError,
    commit::SERVICE,
    rows::{digest, micros},
    tx::{Tx, on_either},
};
use crate::{
    guard::{TextLimit, Window},
    model::{AppId, Digest, Event, EventBody, ProducerId},
};

/// What is asked of one text's allowance. A batch asks of a text once.
#[derive(Debug, Clone, Copy)]
pub struct ReachAsk {
    /// The text and its limit.
    pub text: TextLimit,
    /// How many people are wanted.
    pub want: u64,
}

/// A text that was stopped.
#[derive(Debug, Clone)]
pub struct BroadcastStop {
    /// Whose text.
    pub producer: ProducerId,
    /// To whose phones.
    pub app: AppId,
    /// The text and the limit that it met.
    pub text: TextLimit,
}

#[derive(FromRow)]
struct ReachRow {
    text: Vec<u8>,
    newest: i64,
    given: Vec<u8>,
}

impl ReachRow {
    fn window(&self) -> Result<(Digest, Window), LedgerError> {
        let text = digest("direct_reach", "text", "text", &self.text)?;
        let window = Window::unpack(self.newest, &self.given);
        Ok((text, window.ok_or_else(|| LedgerError::nonsense("direct_reach", text, "column given"))?))
    }
}

/// A row as it is written.
struct Written<'a> {
    text: &'a Digest,
    window: Window,
    until: Timestamp,
}

impl Ledger {
    /// Leases of each text up to what is wanted; answers how many people each was given, in order.
    pub async fn lease_reach(&self, asks: &[ReachAsk], now: Timestamp) -> Result<Vec<u64>, LedgerError> {
        if asks.is_empty() {
            return Ok(Vec::new());
        }
        // In the order of the keys, so that two batches do not wait for each other in a circle.
        let wanted: BTreeMap<&Digest, &ReachAsk> = asks.iter().map(|ask| (&ask.text.text, ask)).collect();
        let mut given = HashMap::with_capacity(asks.len());
        let mut rows = Vec::with_capacity(wanted.len());
        for (text, ask) in &wanted {
            let (slice, limit) = (ask.text.slice(now), ask.text.limit);
            let mut window = Window::new(slice);
            given.insert(*text, window.give(slice, ask.want, limit.max_users));
            rows.push(Written { text, window, until: Window::over_at(now, limit.within) });
        }
        let mut tx = self.begin().await?;
        // Nearly every undeclared text is new: it names its reader.
        let new = tx.insert_reach(&rows).await?;
        let known: Vec<&Digest> = wanted.keys().copied().filter(|text| !new.contains(text)).collect();
        let mut changed = Vec::with_capacity(known.len());
        for row in tx.lock_reach(&known).await? {
            let (text, mut window) = row.window()?;
            let Some((text, ask)) = wanted.get_key_value(&text) else { continue };
            let limit = ask.text.limit;
            given.insert(*text, window.give(ask.text.slice(now), ask.want, limit.max_users));
            changed.push(Written { text, window, until: Window::over_at(now, limit.within) });
        }
        tx.update_reach(&changed).await?;
        tx.commit().await?;
        Ok(asks.iter().map(|ask| given.get(&ask.text.text).copied().unwrap_or(0)).collect())
    }

    /// Forgets what says nothing any more.
    pub(super) async fn forget_reach(&self, now: Timestamp) -> Result<u64, LedgerError> {
        let mut tx = self.begin().await?;
        let gone = on_either!(&mut tx, c => {
            sqlx::query("delete from direct_reach where until < $1").bind(micros(now)).execute(c).await?
                .rows_affected()
        });
        tx.commit().await?;
        Ok(gone)
    }

    /// Puts on record that a text was stopped, and tells it, once in each window over the whole fleet. True for whoever was
    /// the first.
    pub async fn stop_broadcast(&self, stop: &BroadcastStop) -> Result<bool, LedgerError> {
        const SQL: &str =
            "update direct_reach set stopped = $1 where text = $2 and (stopped is null or stopped < $3)";
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let limit = stop.text.limit;
        let slice = stop.text.slice(now);
        let before = stop.text.slice(now.checked_sub(limit.within).unwrap_or(Timestamp::MIN));
        let is_first = on_either!(&mut tx, c => {
            sqlx::query(SQL)
                .bind(slice)
                .bind(&stop.text.text.as_bytes()[..])
                .bind(before)
                .execute(c)
                .await?
                .rows_affected()
        }) > 0;
        if is_first {
            let since = now.checked_sub(limit.within.saturating_mul(2)).unwrap_or(Timestamp::MIN);
            let body = EventBody::BroadcastStopped {
                producer: stop.producer.clone(),
                app: stop.app.clone(),
                text: stop.text.text,
                declared: stop.text.declared,
                max_users: limit.max_users,
                within_seconds: limit.within.as_secs(),
                since,
            };
            let entry = json!(body);
            tx.tell(&[Event::new(now, None, &slice.to_be_bytes(), body)]).await?;
            tx.append_audit(now, SERVICE, "broadcast.stopped", &entry).await?;
        }
        tx.commit().await?;
        Ok(is_first)
    }
}

impl Tx {
    /// Inserts those of which nothing is known yet, and says which they were.
    async fn insert_reach(&mut self, rows: &[Written<'_>]) -> Result<Vec<Digest>, LedgerError> {
        const MANY: &str = "insert into direct_reach (text, newest, given, until) \
             select * from unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bigint[]) \
             on conflict (text) do nothing returning text";
        const ONE: &str = "insert into direct_reach (text, newest, given, until) values ($1, $2, $3, $4) \
             on conflict (text) do nothing returning text";
        let mut new: Vec<Vec<u8>> = Vec::new();
        match self {
            Self::Postgres(tx) => {
                let columns = Columns::of(rows);
                new = columns.bind(sqlx::query_scalar(MANY)).fetch_all(&mut **tx).await?;
            }
            Self::Sqlite(tx) => {
                for row in rows {
                    let query = sqlx::query_scalar(ONE).bind(&row.text.as_bytes()[..]);
                    let query = query.bind(row.window.newest()).bind(row.window.packed());
                    new.extend(query.bind(micros(row.until)).fetch_optional(&mut **tx).await?);
                }
            }
        }
        new.iter().map(|text| digest("direct_reach", "text", "text", text)).collect()
    }

    async fn lock_reach(&mut self, texts: &[&Digest]) -> Result<Vec<ReachRow>, LedgerError> {
        const MANY: &str = "select text, newest, given from direct_reach where text = any($1::bytea[]) \
             order by text for update";
        const ONE: &str = "select text, newest, given from direct_reach where text = $1";
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let texts = texts.iter().map(|text| &text.as_bytes()[..]);
        match self {
            Self::Postgres(tx) => {
                let texts: Vec<&[u8]> = texts.collect();
                Ok(sqlx::query_as(MANY).bind(texts).fetch_all(&mut **tx).await?)
            }
            Self::Sqlite(tx) => {
                let mut rows = Vec::with_capacity(texts.len());
                for text in texts {
                    rows.extend(sqlx::query_as(ONE).bind(text).fetch_optional(&mut **tx).await?);
                }
                Ok(rows)
            }
        }
    }

    async fn update_reach(&mut self, rows: &[Written<'_>]) -> Result<(), LedgerError> {
        const MANY: &str = "update direct_reach d set newest = u.newest, given = u.given, until = u.until \
             from unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bigint[]) u (text, newest, given, until) \
             where d.text = u.text";
        const ONE: &str = "update direct_reach set newest = $2, given = $3, until = $4 where text = $1";
        match self {
            _ if rows.is_empty() => {}
            Self::Postgres(tx) => {
                let columns = Columns::of(rows);
                let query = sqlx::query(MANY).bind(columns.text).bind(columns.newest);
                query.bind(columns.given).bind(columns.until).execute(&mut **tx).await?;
            }
            Self::Sqlite(tx) => {
                for row in rows {
                    let query = sqlx::query(ONE).bind(&row.text.as_bytes()[..]);
                    let query = query.bind(row.window.newest()).bind(row.window.packed());
                    query.bind(micros(row.until)).execute(&mut **tx).await?;
                }
            }
        }
        Ok(())
    }
}

/// Rows as the arrays that a statement takes.
struct Columns<'a> {
    text: Vec<&'a [u8]>,
    newest: Vec<i64>,
    given: Vec<Vec<u8>>,
    until: Vec<i64>,
}

type Texts<'q> =
    sqlx::query::QueryScalar<'q, sqlx::Postgres, Vec<u8>, <sqlx::Postgres as sqlx::Database>::Arguments<'q>>;

impl<'a> Columns<'a> {
    fn of(rows: &[Written<'a>]) -> Self {
        Self {
            text: rows.iter().map(|row| &row.text.as_bytes()[..]).collect(),
            newest: rows.iter().map(|row| row.window.newest()).collect(),
            given: rows.iter().map(|row| row.window.packed()).collect(),
            until: rows.iter().map(|row| micros(row.until)).collect(),
        }
    }

    fn bind(self, query: Texts<'a>) -> Texts<'a> {
        query.bind(self.text).bind(self.newest).bind(self.given).bind(self.until)
    }
}
