//! A filter that numbers messages: each goes on with its number as its body, counted in the binding's store. A few bodies have
//! it do otherwise.

use bindings::exports::posthouse::plugin::filtering::{Body, Envelope, Guest, Replacement, Verdict};
use bindings::posthouse::plugin::kv;

#[expect(unsafe_code, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "filter-with-kv" });

    export!(Keeps);
    use super::Keeps;
}

/// What a value may have at most.
const VALUE_BYTES_MAX: usize = 4_096;

struct Keeps;

impl Guest for Keeps {
    fn filter(_envelope: Envelope, body: &Body) -> Result<Verdict, String> {
        let body = body.read(0, u32::MAX);
        match body.as_slice() {
            b"drop" => count("dropped").map(|_| Verdict::Drop),
            b"trap" => {
                count("trapped")?;
                panic!("as it was told to")
            }
            b"fail" => {
                count("failed")?;
                Err("as it was told to".to_owned())
            }
            b"two alone" => match count("count")? {
                count @ ..=2 => Ok(answer(count.to_string())),
                more => Err(format!("this is number {more}")),
            },
            b"bounds" => Ok(answer(bounds())),
            b"swap" => Ok(answer(swap()?)),
            b"fill" => Ok(answer(fill())),
            b"brief" => {
                let seen = get("brief")?.is_some();
                kv::put("brief", b"", Some(1_000)).map_err(refused)?;
                Ok(answer(seen.to_string()))
            }
            b"read" => Ok(answer(number(get("count")?.as_ref()).to_string())),
            _ => count("count").map(|count| answer(count.to_string())),
        }
    }
}

fn count(key: &str) -> Result<u64, String> {
    let count = number(get(key)?.as_ref()) + 1;
    kv::put(key, count.to_string().as_bytes(), None).map_err(refused)?;
    Ok(count)
}

fn number(entry: Option<&kv::Entry>) -> u64 {
    let text = entry.and_then(|entry| std::str::from_utf8(&entry.value).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Asks for what is out of bounds, and says what that was answered.
fn bounds() -> String {
    let answers = [
        kv::get("").map(|_| ()),
        kv::get(&"k".repeat(257)).map(|_| ()),
        kv::put("k", &[0; VALUE_BYTES_MAX + 1], None),
        kv::put("k", b"v", Some(0)),
        kv::put("k", b"v", Some(u64::MAX)),
        kv::swap("", 0, b"v", None).map(|_| ()),
        kv::delete("").map(|_| ()),
    ];
    format!("{answers:?}")
}

/// Swaps a key back and forth, and says how that went.
fn swap() -> Result<String, String> {
    let swapped = |version, value: &[u8]| kv::swap("swapped", version, value, None).map_err(refused);
    let mut went = vec![
        swapped(7, b"by a wrong version")?,
        swapped(0, b"one")?,
        swapped(0, b"two")?,
    ];
    let own = get("swapped")?.map(|entry| entry.version).unwrap_or_default();
    went.push(swapped(own, b"three")?);
    went.push(swapped(own, b"four")?);
    went.push(kv::delete("swapped").map_err(refused)?);
    went.push(kv::delete("swapped").map_err(refused)?);
    Ok(format!("{went:?}"))
}

/// Writes until it is refused, and says how often it was not and why it was.
fn fill() -> String {
    for number in 0_u32.. {
        if let Err(refusal) = kv::put(&format!("{number:08}"), &[0; VALUE_BYTES_MAX], None) {
            return format!("{number} {refusal:?}");
        }
    }
    String::new()
}

fn get(key: &str) -> Result<Option<kv::Entry>, String> {
    kv::get(key).map_err(refused)
}

fn refused(refusal: kv::Refusal) -> String {
    format!("refused: {refusal:?}")
}

fn answer(text: String) -> Verdict {
    Verdict::Replace(Replacement {
        body: text.into_bytes(),
        attributes: Vec::new(),
    })
}
