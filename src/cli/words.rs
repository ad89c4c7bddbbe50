//! How times, durations and sizes read in tables, and how durations are typed. JSON has RFC 3339 and plain numbers.
//!
//! Whatever is printed for people goes through here, so that two lists never say the same time in two ways. Others' text is
//! made harmless in `out.rs`.

use std::time::Duration;

use jiff::SignedDuration;

use crate::model::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A moment, seen from `now`: `3m ago`, `in 2h`.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.duration_since(now).as_secs();
    let words = duration(seconds.unsigned_abs());
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {words}"),
        _ => format!("{words} ago"),
    }
}

/// How long it is until then: `4h`; `0s` when it is past.
pub(crate) fn left(until: Timestamp, now: Timestamp) -> String {
    duration(u64::try_from(until.duration_since(now).as_secs()).unwrap_or_default())
}

/// A moment for a sentence: `in 15m (2026-11-23 07:10 UTC)`.
pub(crate) fn moment(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({} UTC)", relative(at, now), at.strftime("%Y-%m-%d %H:%M"))
}

/// Seconds, in at most two units: `45s`, `15m`, `1h 30m`, `2d`.
pub(crate) fn duration(seconds: u64) -> String {
    let two = |large: u64, unit: &str, small: u64, smaller: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit} {small}{smaller}") }
    };
    match seconds {
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => two(seconds / MINUTE, "m", seconds % MINUTE, "s"),
        HOUR..DAY => two(seconds / HOUR, "h", seconds % HOUR / MINUTE, "m"),
        DAY.. => two(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
    }
}

/// Microseconds of a recording: `0:03.2`, `12:40.0`, `1:02:03.4`.
pub(crate) fn recording_time(at_us: u64) -> String {
    let (tenths, seconds) = (at_us / 100_000 % 10, at_us / 1_000_000);
    let (hours, minutes) = (seconds / HOUR, seconds % HOUR / MINUTE);
    let rest = seconds % MINUTE;
    if hours == 0 {
        format!("{minutes}:{rest:02}.{tenths}")
    } else {
        format!("{hours}:{minutes:02}:{rest:02}.{tenths}")
    }
}

/// Bytes, in the largest unit that leaves a digit before the point.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut whole = count;
    let mut tenth = 0;
    let mut unit = 0;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        tenth = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 || whole >= 100 { format!("{whole} {name}") } else { format!("{whole}.{tenth} {name}") }
}

/// A duration as people type it: `90s`, `30m`, `1h`, `1h30m`, `2d`. For clap.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write 90s, 30m, 1h or 2d");
    // A day is 24 hours here: jiff leaves it open, since a civil day may be longer.
    let (days, rest) = match text.split_once('d') {
        Some((days, rest)) => (days.trim().parse::<u32>().map_err(|_| wrong())?, rest.trim()),
        None => (0, text),
    };
    let rest: SignedDuration = match rest {
        "" if days > 0 => SignedDuration::ZERO,
        _ => rest.parse().map_err(|_| wrong())?,
    };
    let rest = Duration::try_from(rest).map_err(|_| wrong())?;
    let whole = Duration::from_secs(u64::from(days) * DAY).checked_add(rest).ok_or_else(wrong)?;
    if whole < Duration::from_secs(1) || whole.subsec_nanos() != 0 {
        return Err(format!("{text:?}: give at least one second, and whole ones"));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_and_sizes_read_well() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let at = |offset: i64| Timestamp::from_second(1_000_000 + offset).unwrap();
        assert_eq!(relative(at(-180), now), "3m ago");
        assert_eq!(relative(at(7200), now), "in 2h");
        assert_eq!(relative(now, now), "now");
        assert_eq!(duration(5400), "1h 30m");
        assert_eq!(duration(3 * DAY + 2 * HOUR), "3d 2h");
        assert_eq!(recording_time(3_723_450_000), "1:02:03.4");
        assert_eq!(
            (bytes(1023), bytes(1536), bytes(5 << 30)),
            ("1023 B".into(), "1.5 KiB".into(), "5.0 GiB".into())
        );
        assert_eq!(bytes(u64::MAX), "16777215 TiB");
    }

    #[test]
    fn durations_as_typed() {
        for (text, seconds) in
            [("90s", 90), ("30m", 1800), ("1h", 3600), ("1h30m", 5400), ("2d", 172_800), ("1d 2h", 93_600)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "1", "soon", "-1h", "0s", "500ms", "d", "99999999999d", "1x"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_survives_its_text(seconds in 1_u64..1_000_000) {
            // Two units are shown, so whole minutes and hours come back exactly.
            let shown = if seconds < HOUR { seconds } else if seconds < DAY { seconds / MINUTE * MINUTE } else { seconds / HOUR * HOUR };
            prop_assert_eq!(parse_duration(&duration(seconds)).unwrap().as_secs(), shown);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            parse_duration(&text).ok();
        }
    }
}
