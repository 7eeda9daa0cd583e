//! What is told of changes, and walks that go on after a record: enough to keep something that the directory is seen by.

use std::collections::BTreeMap;

use super::*;

/// Everything that changes are told of, by what names it.
type Told = BTreeMap<DirectoryChange, String>;

/// Returns what the directory says now of something that changed, if it is there.
fn look_up(directory: &Directory, change: &DirectoryChange) -> Option<String> {
    match change {
        DirectoryChange::Tenant { tenant, .. } => directory.tenant(*tenant).map(|found| format!("{found:?}")),
        DirectoryChange::Name { tenant, kind, name } => directory
            .name(*tenant, *kind, name)
            .map(|found| format!("{found:?}")),
        DirectoryChange::Plugin { version, .. } => {
            directory.plugin(*version).map(|found| format!("{found:?}"))
        }
        DirectoryChange::MasterKey { tenant, name } => directory
            .master_key(*tenant, name)
            .map(|found| format!("{found:?}")),
        DirectoryChange::SigningKey { tenant, name } => directory
            .signing_key(*tenant, name)
            .map(|found| format!("{found:?}")),
        // Names nothing.
        DirectoryChange::Deciding => None,
    }
}

/// Returns a change with its name as names are unique.
fn folded(change: DirectoryChange) -> DirectoryChange {
    let fold = |written: Name| name(&written.folded());
    match change {
        DirectoryChange::Tenant { tenant, name } => DirectoryChange::Tenant {
            tenant,
            name: fold(name),
        },
        DirectoryChange::Name { tenant, kind, name } => DirectoryChange::Name {
            tenant,
            kind,
            name: fold(name),
        },
        DirectoryChange::Plugin {
            tenant,
            name,
            version,
        } => DirectoryChange::Plugin {
            tenant,
            name: fold(name),
            version,
        },
        DirectoryChange::MasterKey { tenant, name } => DirectoryChange::MasterKey {
            tenant,
            name: fold(name),
        },
        DirectoryChange::SigningKey { tenant, name } => DirectoryChange::SigningKey {
            tenant,
            name: fold(name),
        },
        DirectoryChange::Deciding => DirectoryChange::Deciding,
    }
}

/// Returns all that decides about messages of what there is: bindings, and what is sealed.
fn deciding(directory: &Directory) -> Vec<String> {
    let is_there = |place: Place| match place {
        Place::Incarnation(incarnation) | Place::Subscription(incarnation, _) => {
            directory.record(incarnation).is_some()
        }
        Place::Tenant(tenant) => directory.tenant(tenant).is_some(),
        Place::Platform | Place::HttpEndpoints | Place::QueueEndpoints => true,
    };
    let bindings = directory.bindings().filter(|binding| is_there(binding.place));
    let sealed = directory
        .names_after(None)
        .filter_map(|record| record.sealed_under.as_ref().map(|key| (record.incarnation, key)));
    bindings
        .map(|binding| format!("{binding:?}"))
        .chain(sealed.map(|sealed| format!("{sealed:?}")))
        .collect()
}

/// Returns everything that is there, as the directory's walks find it.
fn everything(directory: &Directory) -> Told {
    let tenants = directory.tenants().map(|record| DirectoryChange::Tenant {
        tenant: record.tenant,
        name: record.name.clone(),
    });
    let names = directory.names_after(None).map(DirectoryChange::from);
    let plugins = directory
        .plugins_after(None)
        .map(|record| DirectoryChange::Plugin {
            tenant: record.tenant,
            name: record.name.clone(),
            version: record.version,
        });
    let keys = directory
        .tenants()
        .flat_map(|record| directory.master_keys(record.tenant))
        .map(|record| DirectoryChange::MasterKey {
            tenant: record.tenant,
            name: record.name.clone(),
        });
    let signing = directory
        .tenants()
        .flat_map(|record| directory.signing_keys(record.tenant))
        .map(|record| DirectoryChange::SigningKey {
            tenant: record.tenant,
            name: record.name.clone(),
        });
    let all = tenants.chain(names).chain(plugins).chain(keys).chain(signing);
    all.filter_map(|change| Some((folded(change.clone()), look_up(directory, &change)?)))
        .collect()
}

/// Returns what a walk finds from each of these records on, and what it should: it can begin after any of them.
fn rests<R: Clone>(
    all: &[R],
    after: impl Fn(Option<(&R, &str)>) -> Vec<R>,
    name: impl Fn(&R) -> &Name,
) -> (Vec<Vec<R>>, Vec<Vec<R>>) {
    let expected = (0..=all.len()).map(|from| all[from..].to_vec()).collect();
    let from = std::iter::once(None).chain(all.iter().map(Some));
    let found = from.map(|at| {
        let folded = at.map(|record| name(record).folded());
        after(at.zip(folded.as_deref()))
    });
    (found.collect(), expected)
}

proptest! {
    #[test]
    fn who_follows_the_changes_of_any_log_knows_what_is_there(batches in any_log()) {
        let mut directory = Directory::new();
        let mut followed = Told::new();
        for batch in &batches {
            let applied = directory.apply(directory.applied().next(), batch);
            for change in applied.changes {
                match look_up(&directory, &change) {
                    Some(found) => followed.insert(folded(change), found),
                    None => followed.remove(&folded(change)),
                };
            }
            // Gone with their tenant.
            followed.retain(|change, _| match change {
                DirectoryChange::MasterKey { tenant, .. } | DirectoryChange::SigningKey { tenant, .. } => {
                    directory.tenant(*tenant).is_some()
                }
                _ => true,
            });
        }
        prop_assert_eq!(followed, everything(&directory));
    }

    #[test]
    fn whatever_decides_about_messages_changes_only_when_that_is_told(batches in any_log()) {
        let mut directory = Directory::new();
        for batch in &batches {
            let before = deciding(&directory);
            let applied = directory.apply(directory.applied().next(), batch);
            let after = deciding(&directory);
            if applied.changes.contains(&DirectoryChange::Deciding) {
                continue;
            }
            // What went with a queue, topic or tenant decides nothing any more, whoever knows of it.
            let removed = applied.changes.iter().any(|change| look_up(&directory, change).is_none());
            let is_gone = before.iter().any(|one| !after.contains(one));
            let is_new = after.iter().any(|one| !before.contains(one));
            prop_assert!(!is_new && (!is_gone || removed), "{after:?} after {before:?}");
        }
    }

    #[test]
    fn a_walk_goes_on_after_any_record(batches in any_log()) {
        let mut directory = Directory::new();
        run(&mut directory, &batches);
        let tenants: Vec<TenantId> = directory.tenants().map(|tenant| tenant.tenant).collect();
        let mut names = Vec::new();
        for tenant in &tenants {
            for kind in [Kind::Queue, Kind::Topic] {
                let of_kind: Vec<_> = directory.names(*tenant, kind).cloned().collect();
                prop_assert_eq!(directory.name_count(*tenant, kind) as usize, of_kind.len());
                names.extend(of_kind);
            }
        }
        let after = |at: Option<(&NameRecord, &str)>| {
            let at = at.map(|(record, folded)| (record.tenant, record.kind, folded));
            directory.names_after(at).cloned().collect()
        };
        let (found, expected) = rests(&names, after, |record| &record.name);
        prop_assert_eq!(found, expected);

        let owners = std::iter::once(None).chain(tenants.iter().copied().map(Some));
        let plugins: Vec<_> = owners.flat_map(|owner| directory.plugins(owner)).cloned().collect();
        let after = |at: Option<(&PluginRecord, &str)>| {
            let at = at.map(|(record, folded)| (record.tenant, folded, record.version));
            directory.plugins_after(at).cloned().collect()
        };
        let (found, expected) = rests(&plugins, after, |record| &record.name);
        prop_assert_eq!(found, expected);

        let mut by_name: Vec<TenantRecord> = directory.tenants().cloned().collect();
        by_name.sort_by_key(|record| record.name.folded());
        let after = |at: Option<(&TenantRecord, &str)>| {
            directory.tenants_after(at.map(|(_, folded)| folded)).cloned().collect()
        };
        let (found, expected) = rests(&by_name, after, |record| &record.name);
        prop_assert_eq!(found, expected);
    }
}
