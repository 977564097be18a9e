//! The date as the service daytime sends it, in UTC.

use jiff::Timestamp;

/// RFC 867 does not prescribe a format; this is its first example:
/// `Sunday, November 22, 2026 18:53:02-UTC`.
pub(crate) fn daytime_line() -> String {
    daytime_of(Timestamp::now())
}

fn daytime_of(now: Timestamp) -> String {
    now.strftime("%A, %B %-d, %Y %H:%M:%S-UTC\r\n").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_has_the_form_of_the_rfc() {
        let moment = Timestamp::from_second(784_111_777).expect("a moment in 1994");
        assert_eq!(daytime_of(moment), "Sunday, November 6, 1994 08:49:37-UTC\r\n");
    }
}
