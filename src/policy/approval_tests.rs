//! Approval rules as somebody might write them: no text breaks the reader, and what it takes can be met.
//!
//! What each mistake is called is tested with the policy set in `tests.rs`.

use proptest::prelude::*;

use super::*;
use crate::model::{Administration, Endpoint, HostTrust, Plane, Protocol, Sensitivity};

fn target(environment: &str) -> Target {
    Target {
        name: "web-1".parse().unwrap(),
        protocol: Protocol::Ssh,
        endpoint: Endpoint { host: "10.0.0.1".to_owned(), port: 22 },
        trust: HostTrust::Unpinned,
        plane: Plane::Platform,
        environment: environment.to_owned(),
        sensitivity: Sensitivity::Normal,
        tenant: None,
        logins: BTreeSet::new(),
        labels: BTreeMap::new(),
        administration: Administration::default(),
    }
}

/// A line that could stand in a file of rules, or almost.
fn line() -> impl Strategy<Value = String> {
    let key = "name|when|approvals|approvers|longest|default|clock|use_within|lapses|other";
    let value = prop_oneof![
        Just("'approval'".to_owned()),
        Just("'first_use'".to_owned()),
        Just("['approver']".to_owned()),
        Just("{ environment = ['prod'] }".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "[0-9]{1,20}(ms|s|m|h|d|w|y| )".prop_map(|span| format!("'{span}'")),
        "-?P[0-9YMDTHS.]{0,12}".prop_map(|span| format!("'{span}'")),
        "[ -~]{0,20}",
    ];
    prop_oneof![
        1 => Just("[[rule]]".to_owned()),
        6 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
    ]
}

/// A rule with every key, of which some values are out of bounds: approvals, longest, default, use within, lapses.
type Numbers = (u32, u64, u64, Option<u64>, u64);

fn numbers() -> impl Strategy<Value = Numbers> {
    let seconds = || prop_oneof![8 => 1..100_000_u64, 1 => Just(0), 1 => any::<u64>()];
    let approvals = prop_oneof![8 => 1..17_u32, 1 => Just(0), 1 => any::<u32>()];
    (approvals, seconds(), seconds(), prop::option::of(seconds()), seconds())
}

fn written((approvals, longest, default, use_within, lapses): &Numbers, when: &str) -> String {
    let (clock, within) = match use_within {
        Some(within) => ("first_use", format!("use_within = '{within}s'\n")),
        None => ("approval", String::new()),
    };
    format!(
        "[[rule]]\nname = 'rule {approvals}'\n{when}approvals = {approvals}\napprovers = ['approver']\n\
         longest = '{longest}s'\ndefault = '{default}s'\nclock = '{clock}'\n{within}lapses = '{lapses}s'\n"
    )
}

fn is_sound((approvals, longest, default, use_within, lapses): &Numbers) -> bool {
    let fits = |seconds: &u64| (1..=LONGEST.as_secs()).contains(seconds);
    (1..=MOST_APPROVALS).contains(approvals)
        && [longest, default, lapses].into_iter().chain(use_within).all(fits)
        && default <= longest
}

fn is_met(rule: &ApprovalRule) -> bool {
    (1..=MOST_APPROVALS).contains(&rule.approvals)
        && !rule.roles.is_empty()
        && rule.default <= rule.longest
        && !rule.default.is_zero()
        && rule.longest <= LONGEST
        && !rule.lapses.is_zero()
        && (rule.clock == WindowClock::FirstUse) != rule.use_within.is_zero()
}

proptest! {
    #[test]
    fn any_text_is_rules_that_can_be_met_or_an_error(
        lines in prop::collection::vec(line(), 0..16), junk in ".{0,80}",
    ) {
        for text in [lines.join("\n"), junk] {
            match Rules::parse(&text) {
                Ok(rules) => {
                    let rule = rules.rule_for(&target("prod"), &"root".parse().unwrap());
                    prop_assert!(is_met(rule), "{rule:?}");
                }
                Err(error) => prop_assert!(error.to_string().starts_with("approvals.toml")),
            }
        }
    }

    #[test]
    fn what_is_written_is_what_holds(one in numbers(), last in numbers()) {
        let text = written(&one, "when = { environment = 'prod' }\n") + &written(&last, "");
        let parsed = Rules::parse(&text);
        prop_assert_eq!(parsed.is_ok(), is_sound(&one) && is_sound(&last), "{:?}", parsed);
        let Ok(rules) = parsed else { return Ok(()) };
        for (environment, (approvals, longest, default, use_within, lapses)) in [("prod", one), ("staging", last)] {
            let rule = rules.rule_for(&target(environment), &"root".parse().unwrap());
            prop_assert!(is_met(rule), "{rule:?}");
            let seconds = |time: Duration| time.as_secs();
            prop_assert_eq!(
                (rule.approvals, seconds(rule.longest), seconds(rule.default), seconds(rule.lapses)),
                (approvals, longest, default, lapses)
            );
            prop_assert_eq!(seconds(rule.use_within), use_within.unwrap_or(0));
        }
    }
}
