//! API keys, and the tickets that stand in for them.

use std::fmt::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};

use super::Timestamp;

/// What every key begins with, so that scanners of sources find one that leaked.
const KEY_MARK: &str = "cw_";

/// What every ticket begins with.
const TICKET_MARK: &str = "cwt_";

/// How long a ticket opens doors.
pub const TICKET_LASTS: Duration = Duration::from_secs(30);

/// A key as it is kept: of its text only the SHA-256.
///
/// The text is `cw_ID_SECRET`: eight and 48 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The public part of the text, which names the key.
    pub id: String,
    pub digest: KeyDigest,
    /// What it is for; for people.
    pub name: String,
    /// Ascending, at least one.
    pub scopes: Vec<KeyScope>,
    /// How much it may use in a minute; the service's default if it has no limit of its own.
    pub per_minute: Option<u32>,
    pub created_at: Timestamp,
    /// From then on it opens nothing.
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// The SHA-256 of a key's text. It signs tickets, so it is not shown either.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyDigest(pub [u8; 32]);

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyScope {
    /// Ask.
    Read,
    /// Listen.
    Stream,
    /// Change something, and everything else.
    Admin,
}

impl ApiKey {
    /// A new key and its text, which is kept nowhere. `chance` must be unpredictable.
    #[must_use]
    pub fn mint(
        name: &str,
        scopes: &[KeyScope],
        created_at: Timestamp,
        mut chance: impl FnMut() -> u64,
    ) -> (Self, String) {
        let id = format!("{:08x}", chance() >> 32);
        let text = format!("{KEY_MARK}{id}_{:016x}{:016x}{:016x}", chance(), chance(), chance());
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        let key = Self {
            id,
            digest: KeyDigest::of(&text),
            name: name.to_owned(),
            scopes,
            per_minute: None,
            created_at,
            expires_at: None,
            revoked_at: None,
        };
        (key, text)
    }

    /// Which key a text claims to be.
    #[must_use]
    pub fn id_of(text: &str) -> Option<&str> {
        text.strip_prefix(KEY_MARK)?.split_once('_').map(|(id, _)| id)
    }

    /// Whether it is this key's text. Takes as long for a text that is nearly right as for any other.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        verify_slices_are_equal(&KeyDigest::of(text).0, &self.digest.0).is_ok()
    }

    /// Whether it opens anything at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|until| now < until)
    }

    #[must_use]
    pub fn allows(&self, scope: KeyScope) -> bool {
        self.scopes.iter().any(|own| *own == scope || *own == KeyScope::Admin)
    }

    /// What stands in for this key until `until`. Every replica that knows the key can check it.
    #[must_use]
    pub fn ticket(&self, until: Timestamp, chance: u64) -> String {
        let claim = format!("{TICKET_MARK}{}_{:x}_{chance:016x}", self.id, until.millis());
        let signature = hmac::sign(&self.signer(), claim.as_bytes());
        signature.as_ref().iter().fold(format!("{claim}_"), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Which key a ticket claims to stand in for.
    #[must_use]
    pub fn id_of_ticket(ticket: &str) -> Option<&str> {
        ticket.strip_prefix(TICKET_MARK)?.split_once('_').map(|(id, _)| id)
    }

    /// Whether it is a ticket of this key that is good at `now`.
    #[must_use]
    pub fn honours(&self, ticket: &str, now: Timestamp) -> bool {
        let Some((claim, signature)) = ticket.rsplit_once('_') else { return false };
        let Some(signature) = from_hex(signature) else { return false };
        if hmac::verify(&self.signer(), claim.as_bytes(), &signature).is_err() {
            return false;
        }
        let until = claim.split('_').nth(2).and_then(|until| i64::from_str_radix(until, 16).ok());
        until.is_some_and(|until| now < Timestamp::from_millis(until))
    }

    fn signer(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.digest.0)
    }
}

impl KeyDigest {
    fn of(text: &str) -> Self {
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

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

impl KeyScope {
    pub const ALL: [Self; 3] = [Self::Read, Self::Stream, Self::Admin];

    /// The name on the command line, in JSON and in the store.
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

/// The text names no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope is read, stream or admin")]
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

    fn minted(seed: u64) -> (ApiKey, String) {
        let mut n = seed;
        ApiKey::mint("a bot", &[KeyScope::Stream, KeyScope::Read, KeyScope::Read], Timestamp::EPOCH, || {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            n
        })
    }

    #[test]
    fn a_key_knows_its_own_text_only() {
        let (key, text) = minted(1);
        assert_eq!((text.len(), key.scopes.as_slice()), (60, [KeyScope::Read, KeyScope::Stream].as_slice()));
        assert_eq!(ApiKey::id_of(&text), Some(key.id.as_str()));
        assert!(key.is(&text) && !key.is(&text[..59]) && !key.is("") && !key.is(&minted(2).1));
        assert!(key.allows(KeyScope::Read) && !key.allows(KeyScope::Admin));
        let admin = ApiKey { scopes: vec![KeyScope::Admin], ..key };
        assert!(KeyScope::ALL.into_iter().all(|scope| admin.allows(scope)));
        let shown = format!("{admin:?}");
        assert!(!shown.contains(&text[12..]) && !shown.contains("digest: KeyDigest([") && shown.contains(&admin.id));
    }

    #[test]
    fn a_key_ends() {
        let (key, _) = minted(1);
        let at = Timestamp::from_millis;
        assert!(key.is_valid(at(0)));
        let ending = ApiKey { expires_at: Some(at(10)), ..key.clone() };
        assert!(ending.is_valid(at(9)) && !ending.is_valid(at(10)));
        assert!(!ApiKey { revoked_at: Some(at(5)), ..key }.is_valid(at(0)));
    }

    #[test]
    fn a_ticket_stands_in_for_its_key_for_a_while() {
        let ((key, _), (other, _)) = (minted(1), minted(2));
        let at = Timestamp::from_millis;
        let ticket = key.ticket(at(1_000), 7);
        assert_eq!(ApiKey::id_of_ticket(&ticket), Some(key.id.as_str()));
        assert!(key.honours(&ticket, at(999)) && !key.honours(&ticket, at(1_000)));
        assert!(!other.honours(&ticket, at(0)));
        let later = ticket.replacen("_3e8_", "_fff_", 1);
        assert!(later != ticket && !key.honours(&later, at(0)));
        for broken in ["", "cwt_", "cwt_a_b_c_d", &ticket[..ticket.len() - 1], &format!("{ticket}0")] {
            assert!(!key.honours(broken, at(0)), "{broken}");
        }
    }
}
