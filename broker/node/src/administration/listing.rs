//! Pages of listings: in order of name, searched and begun where the caller says.

use posthouse_model::{Name, QueueCounts};

use crate::admin::ListQuery;
use crate::admin::shapes::{CountsView, NameView, Page, StateView};
use crate::broker::{Listed, Progress};

/// Returns the page that is asked for, of items that stand in order of their folded names.
pub(super) fn page<T>(
    sorted: impl IntoIterator<Item = T>,
    query: &ListQuery,
    name: impl Fn(&T) -> &Name,
) -> Page<T> {
    let search = query.search.as_deref().map(str::to_ascii_lowercase);
    let after = query.after.as_deref().map(str::to_ascii_lowercase);
    let mut page = Page {
        items: Vec::new(),
        total: 0,
        next: None,
    };
    let mut last = None;
    for item in sorted {
        let folded = name(&item).folded();
        if search
            .as_ref()
            .is_some_and(|search| !folded.contains(search.as_str()))
        {
            continue;
        }
        page.total += 1;
        if after.as_ref().is_some_and(|after| folded <= *after) {
            continue;
        }
        if page.items.len() == query.limit {
            page.next.clone_from(&last);
            continue;
        }
        last = Some(name(&item).to_string());
        page.items.push(item);
    }
    page
}

/// Returns the view of a queue or topic in a listing.
pub(super) fn name_view(listed: Listed, counts: Option<QueueCounts>) -> NameView {
    NameView {
        name: listed.name,
        incarnation: listed.incarnation.0,
        set: listed.set.0,
        state: match listed.progress {
            Progress::Creating => StateView::Creating,
            Progress::Ready => StateView::Ready,
            Progress::Removing => StateView::Removing,
        },
        sealed_under: listed.sealed_under,
        counts: counts.map(CountsView::from),
    }
}

/// Returns all items as one page.
pub(super) fn whole<V>(items: Vec<V>) -> Page<V> {
    Page {
        total: items.len() as u64,
        items,
        next: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<Name> {
        ["Alpha", "beta", "Betamax", "gamma"]
            .iter()
            .map(|name| Name::parse(name).expect("a name"))
            .collect()
    }

    fn list(search: Option<&str>, after: Option<&str>, limit: usize) -> Page<String> {
        let query = ListQuery {
            search: search.map(str::to_owned),
            after: after.map(str::to_owned),
            limit,
        };
        page(names(), &query, |name| name).map(|name| name.to_string())
    }

    #[test]
    fn pages_follow_one_another_and_together_are_the_whole() {
        let first = list(None, None, 3);
        assert_eq!(
            (first.items, first.total),
            (
                vec!["Alpha".to_owned(), "beta".to_owned(), "Betamax".to_owned()],
                4
            )
        );
        assert_eq!(first.next.as_deref(), Some("Betamax"));
        let second = list(None, first.next.as_deref(), 3);
        assert_eq!(
            (second.items, second.total, second.next),
            (vec!["gamma".to_owned()], 4, None)
        );
    }

    #[test]
    fn a_page_that_just_holds_the_rest_is_the_last() {
        assert_eq!(list(None, None, 4).next, None);
    }

    #[test]
    fn a_search_counts_what_it_finds_whatever_the_case() {
        let found = list(Some("BETA"), None, 1);
        assert_eq!((found.items, found.total), (vec!["beta".to_owned()], 2));
        assert_eq!(found.next.as_deref(), Some("beta"));
    }
}
