//! Rows as a stream: `COPY … FROM STDIN`.
//!
//! It knows no conflict: a key that is there already fails the whole stream, and with it the transaction.
//!
//! Of its two formats PostgreSQL 15 reads the binary one faster where columns are few and have no text (1.2 µs a token, with
//! its index, against 1.7), and the text one where they are many (7.5 µs a device, with all its indexes, against 8.3).

use jiff::Timestamp;
use sqlx::{PgConnection, postgres::PgCopyIn};

use super::devices::array_literal;
use crate::{
    ledger::{
        LedgerError,
        register::KeyedDevice,
        rows::{json_text, micros},
        tx::stored_device,
    },
    model::Locale,
};

/// How much is gathered before it is sent: PostgreSQL works on one piece while the next is being made.
const PIECE: usize = 64 * 1024;

/// Claims tokens of which nobody has one. In the order given, which has to be that of the keys.
pub(in crate::ledger) async fn claim_free_tokens(
    connection: &mut PgConnection,
    batch: &[KeyedDevice],
) -> Result<(), LedgerError> {
    const COPY: &str = "copy token_owner (owner_key, bucket, public_id) from stdin with (format binary)";
    // The signature, no flags, no extension; then rows of three columns, each behind its length; then the end.
    const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    const COLUMNS: [u8; 2] = [0, 3];
    const END: [u8; 2] = [0xff, 0xff];
    let mut stream = Stream::begin(connection, COPY).await?;
    stream.piece.extend_from_slice(HEAD);
    for new in batch {
        let (bucket, id) = stored_device(new.id);
        stream.piece.extend_from_slice(&COLUMNS);
        stream.binary(new.key.as_bytes());
        stream.binary(&bucket.to_be_bytes());
        stream.binary(id.as_bytes());
        stream.end_row().await?;
    }
    stream.piece.extend_from_slice(&END);
    stream.finish().await
}

/// Writes devices that never were. In the order of buckets: neighbours go to the same pages of every index.
pub(in crate::ledger) async fn register_new(
    connection: &mut PgConnection,
    mut batch: Vec<&KeyedDevice>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    const COPY: &str = "copy device (bucket, public_id, user_id, app, platform, environment, token, country, language, \
         timezone, app_version, version_key, last_seen_at, tags, attributes, registered_at) from stdin";
    // An id begins with its bucket.
    batch.sort_unstable_by_key(|new| new.id);
    let mut stream = Stream::begin(connection, COPY).await?;
    for new in batch {
        let device = &new.device;
        let (bucket, id) = stored_device(new.id);
        stream.value(&bucket);
        stream.value(&id);
        stream.text(Some(device.user.as_str()));
        stream.text(Some(device.app.as_str()));
        stream.text(Some(device.platform.as_str()));
        stream.text(Some(device.environment.as_str()));
        stream.text(Some(device.token.reveal()));
        stream.text(device.country.as_deref());
        stream.text(device.language.as_ref().map(Locale::as_str));
        stream.text(device.timezone.as_deref());
        stream.text(device.app_version.as_deref());
        stream.text(device.version_key().as_deref());
        match device.last_seen_at {
            Some(at) => stream.value(&micros(at)),
            None => stream.text(None),
        }
        stream.text(Some(&array_literal(&device.tags)));
        stream.text(Some(&json_text(&device.attributes)));
        stream.value(&micros(now));
        stream.end_line().await?;
    }
    stream.finish().await
}

/// A stream under way: one column after the other.
struct Stream<'c> {
    copy: PgCopyIn<&'c mut PgConnection>,
    piece: Vec<u8>,
}

impl<'c> Stream<'c> {
    async fn begin(connection: &'c mut PgConnection, statement: &str) -> Result<Self, LedgerError> {
        Ok(Self { copy: connection.copy_in_raw(statement).await?, piece: Vec::with_capacity(2 * PIECE) })
    }

    /// A column of the binary format, of a few bytes.
    fn binary(&mut self, bytes: &[u8]) {
        let length = i32::try_from(bytes.len()).expect("a key has some dozen bytes");
        self.piece.extend_from_slice(&length.to_be_bytes());
        self.piece.extend_from_slice(bytes);
    }

    /// A column of the text format.
    fn text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => escape(text, &mut self.piece),
            None => self.piece.extend_from_slice(b"\\N"),
        }
        self.piece.push(b'\t');
    }

    /// The same for a number or an id: nothing to escape.
    fn value(&mut self, value: &impl std::fmt::Display) {
        use std::io::Write;
        write!(self.piece, "{value}\t").expect("memory takes what is written");
    }

    /// Ends a row of the text format.
    async fn end_line(&mut self) -> Result<(), LedgerError> {
        // In the place of the last column's tab.
        self.piece.pop();
        self.piece.push(b'\n');
        self.end_row().await
    }

    async fn end_row(&mut self) -> Result<(), LedgerError> {
        if self.piece.len() >= PIECE {
            self.copy.send(&self.piece[..]).await?;
            self.piece.clear();
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), LedgerError> {
        self.copy.send(&self.piece[..]).await?;
        self.copy.finish().await?;
        Ok(())
    }
}

/// A backslash begins an escape, tab and line feed end a column and a row; a carriage return could be taken for a line's end.
fn escape(text: &str, into: &mut Vec<u8>) {
    let special = |byte: &u8| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r');
    let mut rest = text.as_bytes();
    // Nearly always there is none; a look that does not stop at the first takes many bytes at once.
    if !rest.iter().fold(false, |any, byte| any | special(byte)) {
        into.extend_from_slice(rest);
        return;
    }
    while let Some(at) = rest.iter().position(special) {
        let escaped: &[u8] = match rest[at] {
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            _ => b"\\\\",
        };
        into.extend_from_slice(&rest[..at]);
        into.extend_from_slice(escaped);
        rest = &rest[at + 1..];
    }
    into.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn nothing_in_a_text_ends_its_field() {
        let mut escaped = Vec::new();
        escape("a\tb\nc\rd\\e\\N\"żółw' \\.", &mut escaped);
        assert_eq!(escaped, "a\\tb\\nc\\rd\\\\e\\\\N\"żółw' \\\\.".as_bytes());
    }
}
