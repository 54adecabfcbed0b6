//! A page of dead letters as JSON: what the API and the command line answer.

use veltrix_actors::DeadLetterPage;

/// The page; `replaying` says how many dead letters are being replayed.
pub(crate) fn page_as_json(page: &DeadLetterPage, replaying: u64) -> String {
    let mut text = String::from("{\"dead_letters\":[");
    for (number, letter) in page.letters.iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        letter.write_summary(&mut text);
    }
    let last = page.letters.last().filter(|_| page.has_more);
    let next = last.map_or("null".to_owned(), |letter| letter.sequence.to_string());
    let DeadLetterPage {
        kept, overflowed, ..
    } = page;
    text.push_str(&format!(
        "],\"next_after\":{next},\"kept\":{kept},\"overflowed\":{overflowed},\"replaying\":{replaying}}}"
    ));
    text
}
