//! The API's own scalars, and the one place where instants meet the institution's time zone.
//!
//! Used by services for what comes in and by `graphql` for what goes out. Reads no clock.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil::Date};
use rollcall_rules::time::Instant;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// RFC 3339 date-time that always carries an offset, for instance `2026-10-05T09:02:11.482+01:00`. Output is
/// in the institution's zone; input with any offset is taken; a value without an offset is refused.
#[derive(Debug, Clone, PartialEq)]
pub struct DateTime {
    at: Instant,
    zone: TimeZone,
}

impl DateTime {
    /// An instant, to be shown in a zone.
    #[must_use]
    pub fn new(ms: i64, zone: &TimeZone) -> Self {
        Self { at: Instant(ms), zone: zone.clone() }
    }

    /// Milliseconds since the epoch; finer parts are cut off.
    #[must_use]
    pub fn ms(&self) -> i64 {
        self.at.0
    }
}

impl std::fmt::Display for DateTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Beyond the years that have a calendar there is nothing to write.
        let Ok(timestamp) = Timestamp::from_millisecond(self.at.0) else { return Ok(()) };
        write!(f, "{}", timestamp.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z"))
    }
}

/// Parses an RFC 3339 date-time with an offset, cut to milliseconds.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse_instant(text: &str) -> Result<i64, String> {
    let timestamp: Timestamp = text.parse().map_err(|error| {
        format!("'{text}' is not a date-time with an offset such as 2026-10-05T09:02:11.482+01:00: {error}")
    })?;
    Ok(timestamp.as_nanosecond().div_euclid(1_000_000) as i64)
}

/// RFC 3339 date-time that always carries an offset, for instance `2026-10-05T09:02:11.482+01:00`. Output is
/// in the institution's zone; input with any offset is taken; a value without an offset is refused.
#[Scalar(name = "DateTime", specified_by_url = "https://scalars.graphql.org/andimarek/date-time")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        let ms = parse_instant(text).map_err(InputValueError::custom)?;
        Ok(Self { at: Instant(ms), zone: TimeZone::UTC })
    }

    fn to_value(&self) -> Value {
        Value::String(self.to_string())
    }
}

/// Calendar date without time or zone, `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalDate(pub Date);

/// Calendar date without time or zone, `YYYY-MM-DD`.
#[Scalar(name = "LocalDate", specified_by_url = "https://scalars.graphql.org/andimarek/local-date")]
impl ScalarType for LocalDate {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        let date = text
            .parse()
            .map_err(|_| InputValueError::custom(format!("'{text}' is not a date YYYY-MM-DD")))?;
        Ok(Self(date))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

impl LocalDate {
    /// The instant of local midnight at which the day begins.
    ///
    /// # Errors
    /// When the day is outside the calendar.
    pub fn starts_at(self, zone: &TimeZone) -> Result<i64, String> {
        let zoned = self.0.to_zoned(zone.clone()).map_err(|error| error.to_string())?;
        Ok(zoned.timestamp().as_millisecond())
    }

    /// The instant of local midnight at which the next day begins.
    ///
    /// # Errors
    /// When the day is outside the calendar.
    pub fn ends_at(self, zone: &TimeZone) -> Result<i64, String> {
        Self(self.0.tomorrow().map_err(|error| error.to_string())?).starts_at(zone)
    }
}

/// ISO 8601 duration of whole seconds or finer, for instance `PT10M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Duration(pub i64);

/// ISO 8601 duration of whole seconds or finer, for instance `PT10M`.
#[Scalar(name = "Duration", specified_by_url = "https://scalars.graphql.org/chillicream/duration.html")]
impl ScalarType for Duration {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        let duration: SignedDuration = text
            .parse()
            .map_err(|_| InputValueError::custom(format!("'{text}' is not a duration such as PT30M")))?;
        let ms = i64::try_from(duration.as_millis())
            .map_err(|_| InputValueError::custom("too long a duration"))?;
        Ok(Self(ms))
    }

    fn to_value(&self) -> Value {
        Value::String(SignedDuration::from_millis(self.0).to_string())
    }
}

/// RFC 9562 UUID in lower case. Ids minted by clients should be version 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UuidScalar(pub Uuid);

/// RFC 9562 UUID in lower case. Ids minted by clients should be version 7.
#[Scalar(name = "UUID", specified_by_url = "https://tools.ietf.org/html/rfc9562")]
impl ScalarType for UuidScalar {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        let id =
            Uuid::try_parse(text).map_err(|_| InputValueError::custom(format!("'{text}' is not a UUID")))?;
        Ok(Self(id))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// Whole number from 0 to 2^53-1, sent as a JSON number. For counters that outgrow Int.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Counter(pub i64);

/// The largest whole number that every JSON reader keeps.
const MAX_COUNTER: i64 = (1 << 53) - 1;

/// Whole number from 0 to 2^53-1, sent as a JSON number. For counters that outgrow Int.
#[Scalar(name = "Counter")]
impl ScalarType for Counter {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::Number(number) => match number.as_i64() {
                Some(count) if (0..=MAX_COUNTER).contains(&count) => Ok(Self(count)),
                _ => Err(InputValueError::custom("a counter is a whole number from 0 to 2^53-1")),
            },
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::Number(self.0.into())
    }
}
