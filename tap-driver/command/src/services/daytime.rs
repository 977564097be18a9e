//! Dates in the formats of the services, in UTC.

use jiff::Timestamp;

/// RFC 867 does not prescribe a format; this is its first example:
/// `Sunday, November 22, 2026 18:53:02-UTC`.
pub(crate) fn daytime_line() -> String {
    daytime_of(Timestamp::now())
}

/// The format of RFC 9110 §5.6.7: `Sun, 22 Nov 2026 18:53:02 GMT`.
pub(crate) fn http_date() -> String {
    http_date_of(Timestamp::now())
}

fn daytime_of(now: Timestamp) -> String {
    now.strftime("%A, %B %-d, %Y %H:%M:%S-UTC\r\n").to_string()
}

fn http_date_of(now: Timestamp) -> String {
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_form_of_their_rfcs() {
        let moment = Timestamp::from_second(784_111_777).expect("a moment in 1994");
        assert_eq!(http_date_of(moment), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(daytime_of(moment), "Sunday, November 6, 1994 08:49:37-UTC\r\n");
    }
}
