//! Who may ask: tokens, stored hashed, and the roles that they carry. Nobody is anonymous.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::refusal::{Answer, Check, Code};
use super::{Caller, Hub};
use crate::store::entity::{Gateway, Token};
use crate::store::{StoreError, Value};

/// What a principal may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, async_graphql::Enum)]
pub enum Role {
    /// May do everything but speak for a gateway.
    Administrator,
    /// Speaks for one gateway.
    Gateway,
    /// A program of the university's: reads everything, writes estate, people and timetable.
    Integration,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Administrator, Self::Gateway, Self::Integration];

    /// The word that is stored and typed.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Administrator => "ADMINISTRATOR",
            Self::Gateway => "GATEWAY",
            Self::Integration => "INTEGRATION",
        }
    }

    /// From the word, in any case.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word().eq_ignore_ascii_case(word))
    }
}

/// How a token begins, so that people and secret scanners know one when they see it.
pub const TOKEN_PREFIX: &str = "rollcall_";

/// A token's hash. Tokens have 256 random bits, so one round of SHA-256 is enough.
fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// Makes a token and gives it, once.
///
/// # Errors
/// When the store fails.
pub async fn create_token(
    hub: &Hub,
    name: &str,
    roles: &[Role],
    gateway: Option<&str>,
    lifetime_ms: Option<i64>,
) -> Answer<String> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut check = Check::default();
            check.code("name", name);
            if roles.is_empty() {
                check.refuse(Code::Required, "role", "name at least one role");
            }
            if roles.contains(&Role::Gateway) != gateway.is_some() {
                check.refuse(
                    Code::Required,
                    "gateway",
                    "a token of the role GATEWAY, and no other, names its gateway",
                );
            }
            let mut tx = attempt.write().await?;
            let gateway_id = match gateway {
                Some(code) => {
                    let found = tx.by_keys::<Gateway>([code]).await?.into_iter().next();
                    if found.is_none() {
                        check.refuse(
                            Code::NotFound,
                            "gateway",
                            format!("there is no gateway '{code}'; save it first"),
                        );
                    }
                    found.map(|gateway| gateway.id)
                }
                None => None,
            };
            if let Some(refusals) = check.refusals() {
                return Ok(Err(refusals));
            }
            let mut secret = [0u8; 32];
            getrandom::fill(&mut secret).map_err(|error| StoreError::BadData {
                place: "the machine's random source",
                found: error.to_string(),
            })?;
            let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
            let words: BTreeSet<&str> = roles.iter().map(|role| role.word()).collect();
            let now = hub.now().0;
            tx.put(&[Token {
                id: hub.mint(),
                name: name.to_owned(),
                hash: hash(&token),
                roles: words.into_iter().collect::<Vec<_>>().join(","),
                gateway_id,
                created_at: now,
                expires_at: lifetime_ms.map(|ms| now + ms),
                revoked_at: None,
            }])
            .await?;
            tx.commit().await?;
            Ok(Ok(token))
        })
    })
    .await
}

/// All tokens, a line of words for each: name, roles, state.
///
/// # Errors
/// When the store fails.
pub async fn tokens(hub: &Hub) -> Result<Vec<String>, StoreError> {
    let mut tx = hub.read().await?;
    let now = hub.now().0;
    let line = |token: Token| {
        let day = |at: i64| {
            jiff::Timestamp::from_millisecond(at)
                .map_or_else(|_| "?".to_owned(), |at| at.strftime("%F").to_string())
        };
        let state = match (token.revoked_at, token.expires_at) {
            (Some(at), _) => format!("taken back on {}", day(at)),
            (None, Some(end)) if end <= now => format!("over since {}", day(end)),
            (None, Some(end)) => format!("in force until {}", day(end)),
            (None, None) => "in force".to_owned(),
        };
        format!("{}  {}  made on {}  {state}", token.name, token.roles, day(token.created_at))
    };
    Ok(tx.all::<Token>().await?.into_iter().map(line).collect())
}

/// Takes all tokens of a name back; gives how many were in force.
///
/// # Errors
/// When the store fails.
pub async fn revoke_tokens(hub: &Hub, name: &str) -> Result<usize, StoreError> {
    hub.whole(|attempt| {
        Box::pin(async move {
            let mut tx = attempt.write().await?;
            let now = hub.now().0;
            let mut tokens = tx.by_keys::<Token>([name]).await?;
            tokens.retain(|token| token.revoked_at.is_none() && token.expires_at.is_none_or(|end| now < end));
            for token in &mut tokens {
                token.revoked_at = Some(now);
            }
            tx.put(&tokens).await?;
            tx.commit().await?;
            Ok(tokens.len())
        })
    })
    .await
}

/// Who shows this token; `None` when it is unknown, over, or taken back.
///
/// # Errors
/// When the store fails.
pub async fn authenticate(hub: &Hub, token: &str) -> Result<Option<Caller>, StoreError> {
    let mut tx = hub.read().await?;
    let found = tx.by_column::<Token>("hash", [Value::from(hash(token))]).await?.into_iter().next();
    Ok(found.and_then(|token| in_force(token, hub.now().0)))
}

/// Whoever a token stands for, unless it is over or was taken back.
pub(crate) fn in_force(token: Token, now: i64) -> Option<Caller> {
    let holds = token.revoked_at.is_none() && token.expires_at.is_none_or(|end| now < end);
    holds.then(|| bearer_of(token))
}

/// Whoever a token stands for.
fn bearer_of(token: Token) -> Caller {
    Caller {
        token_id: token.id,
        name: token.name,
        roles: token.roles.split(',').filter_map(Role::from_word).collect(),
        gateway_id: token.gateway_id,
        expires_at: token.expires_at,
    }
}

/// Whether any token was ever made.
///
/// # Errors
/// When the store fails.
pub async fn any_token(hub: &Hub) -> Result<bool, StoreError> {
    let mut tx = hub.read().await?;
    Ok(tx.fetch_one("SELECT 1 FROM access_token LIMIT 1", Vec::new()).await?.is_some())
}
