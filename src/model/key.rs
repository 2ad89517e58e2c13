//! API keys, and short-lived tickets that replace them in URLs.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};

use super::Timestamp;

/// Prefix of every key, so that secret scanners find leaked keys.
const KEY_PREFIX: &str = "cw_";

/// Prefix of every ticket.
const TICKET_PREFIX: &str = "cwt_";

/// Validity period of a ticket.
pub const TICKET_TTL: Duration = Duration::from_secs(30);

/// An API key as stored: the digest of its text, never the text itself.
///
/// The text has the form `cw_ID_SECRET`, with 8 and 48 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The public part of the text, which identifies the key.
    pub id: String,
    pub digest: KeyDigest,
    /// Description for administrators.
    pub name: String,
    /// Sorted, at least one.
    pub scopes: Vec<KeyScope>,
    /// Rate limit of the key, in cost units per minute. `None` uses `limits.per_minute` of the configuration.
    pub per_minute: Option<u32>,
    pub created_at: Timestamp,
    /// The key is invalid from this time on.
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// SHA-256 digest of a key's text. It signs tickets, so it is secret too and `Debug` does not print it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyDigest(pub [u8; 32]);

/// Permission of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyScope {
    /// Read data over REST.
    Read,
    /// Subscribe to streams.
    Stream,
    /// Make changes; includes all other scopes.
    Admin,
}

impl ApiKey {
    /// Generates a key. Returns it together with its text, which is not stored anywhere. `random` must be
    /// unpredictable.
    #[must_use]
    pub fn generate(
        name: &str,
        scopes: &[KeyScope],
        created_at: Timestamp,
        mut random: impl FnMut() -> u64,
    ) -> (Self, String) {
        let id = format!("{:08x}", random() >> 32);
        let text = format!("{KEY_PREFIX}{id}_{:016x}{:016x}{:016x}", random(), random(), random());
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        let key = Self {
            id,
            digest: KeyDigest::sha256(&text),
            name: name.to_owned(),
            scopes,
            per_minute: None,
            created_at,
            expires_at: None,
            revoked_at: None,
        };
        (key, text)
    }

    /// The key id within a key's text. The text is not verified.
    #[must_use]
    pub fn key_id(text: &str) -> Option<&str> {
        text.strip_prefix(KEY_PREFIX)?.split_once('_').map(|(id, _)| id)
    }

    /// Whether `text` is the text of this key. Compares in constant time.
    #[must_use]
    pub fn verify(&self, text: &str) -> bool {
        verify_slices_are_equal(&KeyDigest::sha256(text).0, &self.digest.0).is_ok()
    }

    /// Whether the key is neither revoked nor expired at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|until| now < until)
    }

    /// Whether the key grants `scope`.
    #[must_use]
    pub fn allows(&self, scope: KeyScope) -> bool {
        self.scopes.iter().any(|granted| *granted == scope || *granted == KeyScope::Admin)
    }

    /// Creates a ticket that replaces this key until `until`. Every replica that has the key can verify the ticket.
    #[must_use]
    pub fn sign_ticket(&self, until: Timestamp, random: u64) -> String {
        let claim = format!("{TICKET_PREFIX}{}_{:x}_{random:016x}", self.id, until.millis());
        let signature = hmac::sign(&self.signing_key(), claim.as_bytes());
        format!("{claim}_{}", hex::encode(signature))
    }

    /// The key id within a ticket. The ticket is not verified.
    #[must_use]
    pub fn ticket_key_id(ticket: &str) -> Option<&str> {
        ticket.strip_prefix(TICKET_PREFIX)?.split_once('_').map(|(id, _)| id)
    }

    /// Whether `ticket` was signed with this key and has not expired at `now`.
    #[must_use]
    pub fn verify_ticket(&self, ticket: &str, now: Timestamp) -> bool {
        let Some((claim, signature)) = ticket.rsplit_once('_') else { return false };
        let Ok(signature) = hex::decode(signature) else { return false };
        if hmac::verify(&self.signing_key(), claim.as_bytes(), &signature).is_err() {
            return false;
        }
        let until = claim.split('_').nth(2).and_then(|until| i64::from_str_radix(until, 16).ok());
        until.is_some_and(|until| now < Timestamp::from_millis(until))
    }

    fn signing_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.digest.0)
    }
}

impl KeyDigest {
    fn sha256(text: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        Self(bytes)
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl KeyScope {
    pub const ALL: [Self; 3] = [Self::Read, Self::Stream, Self::Admin];

    /// Name on the command line, in JSON and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Stream => "stream",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for KeyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of read, stream, admin")]
pub struct UnknownKeyScope;

impl FromStr for KeyScope {
    type Err = UnknownKeyScope;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(UnknownKeyScope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(seed: u64) -> (ApiKey, String) {
        let mut n = seed;
        ApiKey::generate("a bot", &[KeyScope::Stream, KeyScope::Read, KeyScope::Read], Timestamp::EPOCH, || {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            n
        })
    }

    #[test]
    fn key_verifies_only_its_own_text() {
        let (key, text) = generated(1);
        assert_eq!((text.len(), key.scopes.as_slice()), (60, [KeyScope::Read, KeyScope::Stream].as_slice()));
        assert_eq!(ApiKey::key_id(&text), Some(key.id.as_str()));
        assert!(key.verify(&text) && !key.verify(&text[..59]) && !key.verify("") && !key.verify(&generated(2).1));
        assert!(key.allows(KeyScope::Read) && !key.allows(KeyScope::Admin));
        let admin = ApiKey { scopes: vec![KeyScope::Admin], ..key };
        assert!(KeyScope::ALL.into_iter().all(|scope| admin.allows(scope)));
        let shown = format!("{admin:?}");
        assert!(!shown.contains(&text[12..]) && !shown.contains("digest: KeyDigest([") && shown.contains(&admin.id));
    }

    #[test]
    fn expired_or_revoked_key_is_invalid() {
        let (key, _) = generated(1);
        let at = Timestamp::from_millis;
        assert!(key.is_valid(at(0)));
        let expiring = ApiKey { expires_at: Some(at(10)), ..key.clone() };
        assert!(expiring.is_valid(at(9)) && !expiring.is_valid(at(10)));
        assert!(!ApiKey { revoked_at: Some(at(5)), ..key }.is_valid(at(0)));
    }

    #[test]
    fn ticket_is_valid_only_for_its_key_until_expiry() {
        let ((key, _), (other, _)) = (generated(1), generated(2));
        let at = Timestamp::from_millis;
        let ticket = key.sign_ticket(at(1_000), 7);
        assert_eq!(ApiKey::ticket_key_id(&ticket), Some(key.id.as_str()));
        assert!(key.verify_ticket(&ticket, at(999)) && !key.verify_ticket(&ticket, at(1_000)));
        assert!(!other.verify_ticket(&ticket, at(0)));
        let extended = ticket.replacen("_3e8_", "_fff_", 1);
        assert!(extended != ticket && !key.verify_ticket(&extended, at(0)));
        for broken in ["", "cwt_", "cwt_a_b_c_d", &ticket[..ticket.len() - 1], &format!("{ticket}0")] {
            assert!(!key.verify_ticket(broken, at(0)), "{broken}");
        }
    }
}
