//! What foreign text may do to a line or a terminal.

/// Whether `c` steers instead of showing: a control character, a line or paragraph separator, or a format character, which
/// may turn the direction of what follows or be invisible (Unicode's categories Cc, Zl, Zp and Cf).
pub fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn it_is_unicodes_own_list() {
        let steering = Regex::new(r"[\p{Cc}\p{Zl}\p{Zp}\p{Cf}]").unwrap();
        for c in '\0'..=char::MAX {
            // Places without a character yet, among those that are.
            let unassigned = matches!(c, '\u{2065}' | '\u{e0000}' | '\u{e0002}'..='\u{e001f}');
            let listed = steering.is_match(c.encode_utf8(&mut [0; 4]));
            assert_eq!(is_steering(c), listed || unassigned, "{:x}", u32::from(c));
        }
    }
}
