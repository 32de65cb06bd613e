//! An operator's shares: percents by backend, as they are typed, to a split.

use crate::domain::{BackendName, Split, SplitError, Weight};

/// The split that `wish` means for a route over the backends of `present`; backends left out get nothing.
///
/// # Errors
/// Everything that is wrong, one text each.
pub(super) fn parse(wish: &[(String, Option<f64>)], present: &Split) -> Result<Split, Vec<String>> {
    let mut faults = Vec::new();
    let mut shares: Vec<(BackendName, Weight)> = Vec::new();
    for (name, percent) in wish {
        let known = present.shares().iter().find(|(known, _)| known.as_str() == name);
        match known {
            None => faults.push(unknown(name, present)),
            Some((known, _)) => match percent.map(Weight::from_percent) {
                Some(Ok(weight)) => shares.push((known.clone(), weight)),
                Some(Err(fault)) => faults.push(format!("{known}: {fault}")),
                None => faults.push(format!("{known}: the value is no percentage such as 12.5")),
            },
        }
    }
    for (name, _) in present.shares() {
        if !wish.iter().any(|(given, _)| given == name.as_str()) {
            shares.push((name.clone(), Weight::ZERO));
        }
    }
    match Split::new(shares) {
        Ok(split) if faults.is_empty() => Ok(split),
        Ok(_) => Err(faults),
        // With a share left out for its fault, the sum would be off, or nothing left, for no fault of its own.
        Err(SplitError::Sum(_) | SplitError::Empty) if !faults.is_empty() => Err(faults),
        Err(fault @ (SplitError::Sum(_) | SplitError::Twice(_) | SplitError::Empty)) => {
            faults.push(fault.to_string());
            Err(faults)
        }
    }
}

/// A split in one line, as in `blue 90, green 10`.
pub(super) fn text(split: &Split) -> String {
    let shares = split.shares().iter().map(|(name, weight)| format!("{name} {weight}"));
    shares.collect::<Vec<_>>().join(", ")
}

fn unknown(name: &str, present: &Split) -> String {
    let known: Vec<_> = present.shares().iter().map(|(known, _)| known.as_str()).collect();
    let given: String = name.chars().take(100).collect();
    if known.is_empty() {
        return format!(
            "the route redirects its clients: it has no split, and no backend {given:?}"
        );
    }
    format!("the route's split has no backend {given:?}; it has {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::hand_split::tests::split;

    fn parsed(wish: &[(&str, f64)]) -> Result<Split, Vec<String>> {
        let wish: Vec<_> =
            wish.iter().map(|(name, share)| ((*name).to_owned(), Some(*share))).collect();
        parse(&wish, &split(&[("blue", 90.0), ("green", 10.0)]))
    }

    #[test]
    fn a_backend_left_out_gets_nothing() {
        assert_eq!(parsed(&[("green", 100.0)]), Ok(split(&[("blue", 0.0), ("green", 100.0)])));
    }

    #[test]
    fn a_redirect_has_no_split_to_set() {
        let faults = parse(&[("blue".to_owned(), Some(100.0))], &Split::none()).unwrap_err();
        let told = "the route redirects its clients: it has no split, and no backend \"blue\"";
        assert_eq!(faults, [told]);
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults = parsed(&[("purple", 5.0), ("blue", 101.0)]).unwrap_err();
        assert_eq!(
            faults,
            [
                "the route's split has no backend \"purple\"; it has blue, green",
                "blue: a share of 101 % is not between 0 and 100 %",
            ]
        );
        let faults = parsed(&[("blue", -5.0), ("green", 105.0)]).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert_eq!(
            parsed(&[("blue", 50.0)]),
            Err(vec!["the weights sum to 50, not to 100".into()])
        );
        assert_eq!(
            parsed(&[("blue", 50.0), ("blue", 50.0)]),
            Err(vec!["backend blue is named twice".into()])
        );
    }
}
