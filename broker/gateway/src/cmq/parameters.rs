//! A form's parameters by name and type.
//!
//! A name is looked for as written, then with blanks around it (one SDK sends such), then in any case. What is
//! given twice is refused, for it is not said which one is meant.

use bytes::Bytes;

use super::CmqError;
use super::call::shortened;
use super::form::Form;

/// The parameters of a form.
#[derive(Clone, Copy)]
pub(super) struct Parameters<'a> {
    form: &'a Form,
}

// === impl Parameters ===

impl<'a> Parameters<'a> {
    pub(super) fn of(form: &'a Form) -> Self {
        Self { form }
    }

    /// Returns a parameter's text, if it is given; perhaps empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, CmqError> {
        let Some(at) = self.find(name)? else {
            return Ok(None);
        };
        match std::str::from_utf8(self.form.value(at)) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(CmqError::wrong_type(name)),
        }
    }

    /// Returns a parameter's text, none if it is empty.
    pub(super) fn text_not_empty(&self, name: &str) -> Result<Option<&'a str>, CmqError> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()))
    }

    /// Returns the text of a parameter that must be given and not be empty.
    pub(super) fn required_text(&self, name: &str) -> Result<&'a str, CmqError> {
        self.text_not_empty(name)?.ok_or_else(|| CmqError::lacked(name))
    }

    /// Returns a parameter's number, none if it is empty.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, CmqError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(CmqError::wrong_type(name));
        }
        // All digits, so what cannot be read is too long.
        text.parse().map(Some).map_err(|_| CmqError::out_of_range(name))
    }

    /// Returns the number of a parameter that must be given.
    pub(super) fn required_number(&self, name: &str) -> Result<i64, CmqError> {
        self.number(name)?.ok_or_else(|| CmqError::lacked(name))
    }

    /// Returns a parameter's number, which must not be negative.
    pub(super) fn count(&self, name: &str) -> Result<Option<u64>, CmqError> {
        let Some(number) = self.number(name)? else {
            return Ok(None);
        };
        u64::try_from(number)
            .map(Some)
            .map_err(|_| CmqError::out_of_range(name))
    }

    /// Returns the bytes of a parameter that must be given, to be kept; perhaps none.
    pub(super) fn required_bytes(&self, name: &str) -> Result<Bytes, CmqError> {
        let at = self.find(name)?.ok_or_else(|| CmqError::lacked(name))?;
        Ok(self.form.keep(at))
    }

    /// Returns the values of `name.0`, `name.1` … or `name.1`, `name.2` … by rising number. None must be left
    /// out.
    pub(super) fn array(&self, name: &str) -> Result<Vec<Bytes>, CmqError> {
        let elements = self.elements(name)?;
        Ok(elements.into_iter().map(|at| self.form.keep(at)).collect())
    }

    /// Returns the values of an array as texts, empty ones left out.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&'a str>, CmqError> {
        let mut texts = Vec::new();
        for at in self.elements(name)? {
            let value = self.form.value(at);
            let text = std::str::from_utf8(value).map_err(|_| CmqError::wrong_type(name))?;
            if !text.is_empty() {
                texts.push(text);
            }
        }
        Ok(texts)
    }

    /// Returns where the elements of an array are, in order of their numbers.
    fn elements(&self, name: &str) -> Result<Vec<usize>, CmqError> {
        let mut elements = Vec::new();
        for at in 0..self.form.len() {
            let Some(rest) = strip_prefix_any_case(self.form.name(at).trim_ascii(), name) else {
                continue;
            };
            match rest {
                // An SDK may send the bare name with nothing in it.
                [] if self.form.value(at).is_empty() => {}
                [] => return Err(CmqError::key_format(name)),
                [b'.', digits @ ..] => match index(digits) {
                    Some(index) => elements.push((index, at)),
                    None => return Err(CmqError::key_format(&self.shown(at))),
                },
                _ => {}
            }
        }
        elements.sort_unstable();
        for pair in elements.windows(2) {
            if pair[0].0 == pair[1].0 {
                return Err(CmqError::not_repeatable(&self.shown(pair[1].1)));
            }
            if pair[0].0 + 1 != pair[1].0 {
                return Err(CmqError::not_consequent(name));
            }
        }
        match elements.first() {
            Some((first, _)) if *first > 1 => Err(CmqError::not_consequent(name)),
            _ => Ok(elements.into_iter().map(|(_, at)| at).collect()),
        }
    }

    fn find(&self, name: &str) -> Result<Option<usize>, CmqError> {
        let wanted = name.as_bytes();
        if let Some(at) = self.only(name, |given| given == wanted)? {
            return Ok(Some(at));
        }
        if let Some(at) = self.only(name, |given| given.trim_ascii() == wanted)? {
            return Ok(Some(at));
        }
        self.only(name, |given| given.trim_ascii().eq_ignore_ascii_case(wanted))
    }

    /// Returns the one parameter that is meant by a name.
    fn only(&self, name: &str, is_meant: impl Fn(&[u8]) -> bool) -> Result<Option<usize>, CmqError> {
        let mut found = (0..self.form.len()).filter(|at| is_meant(self.form.name(*at)));
        let first = found.next();
        match found.next() {
            Some(_) => Err(CmqError::not_repeatable(name)),
            None => Ok(first),
        }
    }

    fn shown(&self, at: usize) -> String {
        shortened(&String::from_utf8_lossy(self.form.name(at)))
    }
}

fn strip_prefix_any_case<'n>(given: &'n [u8], name: &str) -> Option<&'n [u8]> {
    let (start, rest) = given.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name.as_bytes()).then_some(rest)
}

/// Reads an element's number: decimal digits, and few of them.
fn index(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<R>(text: &str, read: impl FnOnce(Parameters<'_>) -> R) -> R {
        let form = Form::parse(text.as_bytes()).expect("few parameters");
        read(Parameters::of(&form))
    }

    fn array(text: &str, name: &str) -> Result<Vec<String>, CmqError> {
        let values = with(text, |parameters| parameters.array(name))?;
        Ok(values
            .iter()
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect())
    }

    #[test]
    fn arrays_begin_at_zero_or_one_and_are_ordered_by_number() {
        assert_eq!(array("m.1=b&m.0=a", "m"), Ok(vec!["a".into(), "b".into()]));
        let ten: Vec<String> = (1..=10).rev().map(|n| format!("m.{n}={n}")).collect();
        let values = array(&ten.join("&"), "m").expect("ten values");
        assert_eq!(values, (1..=10).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(array("n.1=b", "m"), Ok(vec![]));
        assert_eq!(array("M.1 =b", "m"), Ok(vec!["b".into()]));
        assert_eq!(array("m=&m.1=b&mm.1=c", "m"), Ok(vec!["b".into()]));
    }

    #[test]
    fn gaps_repeats_and_bad_numbers_are_refused() {
        assert_eq!(array("m.1=a&m.3=b", "m"), Err(CmqError::not_consequent("m")));
        assert_eq!(array("m.2=a&m.3=b", "m"), Err(CmqError::not_consequent("m")));
        assert_eq!(array("m.1=a&m.01=b", "m"), Err(CmqError::not_repeatable("m.01")));
        for bad in ["m.x=a", "m.=a", "m.-1=a", "m.+1=a", "m.99999999999=a"] {
            let refused = array(bad, "m").expect_err(bad);
            assert_eq!(refused.module, 10310, "{bad}");
        }
        assert_eq!(array("m=a", "m"), Err(CmqError::key_format("m")));
    }

    #[test]
    fn names_are_found_as_written_then_trimmed_then_in_any_case() {
        let text = |form: &str| with(form, |p| p.text("queueName").map(|t| t.map(str::to_owned)));
        assert_eq!(
            text("QueueName=a&queueName%20=b&queueName=c"),
            Ok(Some("c".into()))
        );
        assert_eq!(text("QueueName=a&queueName%20=b"), Ok(Some("b".into())));
        assert_eq!(text("QueueName=a"), Ok(Some("a".into())));
        assert_eq!(text("queue=a"), Ok(None));
        assert_eq!(
            text("queueName=a&queueName=a"),
            Err(CmqError::not_repeatable("queueName"))
        );
        assert_eq!(text("queueName=%ff"), Err(CmqError::wrong_type("queueName")));
    }

    #[test]
    fn numbers_are_decimal_and_empty_is_absent() {
        let number = |form: &str| with(form, |p| p.number("n"));
        assert_eq!(number("n=12"), Ok(Some(12)));
        assert_eq!(number("n=-1"), Ok(Some(-1)));
        assert_eq!(number("n=+"), Ok(None));
        assert_eq!(number("m=1"), Ok(None));
        for wrong in ["n=a", "n=-", "n=1.5", "n=%2B1", "n=1e3", "n=%01"] {
            assert_eq!(number(wrong), Err(CmqError::wrong_type("n")), "{wrong}");
        }
        assert_eq!(number("n=99999999999999999999"), Err(CmqError::out_of_range("n")));
        assert_eq!(with("n=-1", |p| p.count("n")), Err(CmqError::out_of_range("n")));
    }
}
