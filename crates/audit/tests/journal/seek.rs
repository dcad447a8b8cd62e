//! Searches, against what a plain filter of all records finds.

use super::*;

/// A journal of several files with records of many kinds.
fn house() -> House {
    let house = House { segment_bytes: 150_000, ..House::new() };
    let journal = house.open();
    let names = ["alice", "bob", "carol"];
    for index in 0..3000_usize {
        let (address, request) = (format!("10.0.0.{}", index % 7), format!("request-{index}"));
        let outcomes = [Outcome::Success, Outcome::Denied, Outcome::Success, Outcome::Failed];
        let record = NewRecord {
            actor: names[index % 3],
            action: ["pull", "push", "tag.delete", "tag.set", "sign-in"][index % 5],
            outcome: outcomes[index % 4],
            project: ["a", "a/b", "ab", ""][index % 4],
            repository: ["a/x", "a/b/y", "ab/z"][index % 3],
            digest: if index % 11 == 0 { "sha256:00" } else { "sha256:11" },
            address: &address,
            request: &request,
            agent: if index % 13 == 0 { "podman/5" } else { "docker/28" },
            ..NewRecord::default()
        };
        house.pass(SECOND / 10);
        journal.append(&record).unwrap();
        if index % 40 == 0 {
            house.pass(SECOND);
            journal.flush().unwrap();
        }
    }
    journal.settle().unwrap();
    assert!(house.files().len() > 4);
    house
}

/// All pages of a search.
fn pages(house: &House, query: &Query, window: Window) -> (Vec<Record>, usize) {
    let (mut records, mut count, mut window) = (Vec::new(), 0, window);
    loop {
        let page = search(&house.path(), query, &window).unwrap();
        assert!(page.records.len() <= window.records);
        records.extend(page.records);
        count += 1;
        let Some(next) = page.next else { return (records, count) };
        window.after = Some(next);
    }
}

#[test]
fn a_search_finds_what_a_filter_finds() {
    let house = house();
    let all = house.all();
    let text = |text: &str| Some(text.to_owned());
    let time = |index: usize| Some(all[index].time);
    let check = |query: Query, wanted: &dyn Fn(&Record) -> bool| {
        let mut expect: Vec<Record> = all.iter().filter(|record| wanted(record)).cloned().collect();
        for newest_first in [false, true] {
            for (records, bytes) in [(usize::MAX, u64::MAX), (7, u64::MAX), (100, 30_000)] {
                let (found, _) = pages(&house, &query, Window { after: None, newest_first, records, bytes });
                assert!(found == expect, "{query:?}, {newest_first}, {records}: {} found", found.len());
            }
            expect.reverse();
        }
    };
    let any = Query::default;
    check(any(), &|_| true);
    // However little may be read, it goes on.
    let least = Window { newest_first: true, bytes: 1, records: 10, after: Some(50) };
    assert_eq!(pages(&house, &any(), least).0.len(), 49);
    check(Query { actor: text("bob"), ..any() }, &|record| record.actor == "bob");
    check(Query { actor: text("bo"), ..any() }, &|_| false);
    check(Query { action: text("tag."), ..any() }, &|record| record.action.starts_with("tag."));
    check(Query { outcome: Some(Outcome::Failed), ..any() }, &|record| record.outcome == Outcome::Failed);
    check(Query { project: text("a"), ..any() }, &|record| matches!(record.project.as_str(), "a" | "a/b"));
    check(Query { repository: text("ab/z"), ..any() }, &|record| record.repository == "ab/z");
    check(Query { digest: text("sha256:00"), ..any() }, &|record| record.digest == "sha256:00");
    check(Query { address: text("10.0.0.3"), ..any() }, &|record| record.address == "10.0.0.3");
    check(Query { request: text("request-1234"), ..any() }, &|record| record.seq == 1235);
    check(Query { text: text("odman"), ..any() }, &|record| record.agent == "podman/5");
    for (from, until) in [(0, 1), (100, 2500), (1400, 1500), (2999, 2999)] {
        let query = Query { from: time(from), until: time(until), ..any() };
        let range = all[from].time..all[until].time;
        check(query, &|record| range.contains(&record.time));
    }
    check(Query { from: time(2990), ..any() }, &|record| record.seq >= 2991);
    check(Query { until: time(10), ..any() }, &|record| record.seq <= 10);
    let both = Query { actor: text("bob"), outcome: Some(Outcome::Denied), ..any() };
    check(both, &|record| record.actor == "bob" && record.outcome == Outcome::Denied);
}

#[test]
fn a_search_rests_after_as_many_bytes_as_it_may_read() {
    let house = house();
    let nothing = Query { actor: Some("nobody".into()), ..Query::default() };
    for newest_first in [false, true] {
        let window = Window { newest_first, bytes: 20_000, ..Window::default() };
        let (found, count) = pages(&house, &nothing, window);
        assert!(found.is_empty());
        assert!((20..60).contains(&count), "{count}");
    }
}

#[test]
fn any_cursor_is_taken() {
    let house = house();
    let check = |after: u64, newest_first: bool, expect: Option<u64>| {
        let window = Window { after: Some(after), newest_first, records: 1, ..Window::default() };
        let page = search(&house.path(), &Query::default(), &window).unwrap();
        assert_eq!(page.records.first().map(|record| record.seq), expect, "{after} {newest_first}");
    };
    for after in (1..2999).step_by(97) {
        check(after, false, Some(after + 1));
        check(after + 1, true, Some(after));
    }
    check(0, false, Some(1));
    check(u64::MAX, false, None);
    check(3000, false, None);
    check(0, true, None);
    check(1, true, None);
    check(u64::MAX, true, Some(3000));
}

#[test]
fn damaged_lines_are_passed_over_and_counted() {
    let house = house();
    let file = &house.files()[1];
    let mut content = fs::read(file).unwrap();
    let middle = content.len() / 2;
    for at in [middle - 40_000, middle, middle + 300] {
        content[at] = 0;
    }
    // Longer than any line, and not a word of it can be read.
    content.splice(middle + 20_000..middle + 20_001, vec![b'x'; 200_000]);
    fs::write(file, content).unwrap();
    for newest_first in [false, true] {
        let window = Window { newest_first, records: usize::MAX, bytes: u64::MAX, ..Window::default() };
        let page = search(&house.path(), &Query::default(), &window).unwrap();
        assert_eq!((page.records.len() as u64, page.damaged, page.next), (2996, 4, None));
        let (found, _) = pages(&house, &Query::default(), Window { records: 10, ..window });
        assert_eq!(found, page.records);
    }
}

#[test]
fn a_clock_that_goes_back_hides_no_record() {
    let house = House { segment_bytes: 1000, ..House::new() };
    let journal = house.open();
    for hours in [0, -5, 3, 1, -2, 0, 4, -4, 2] {
        for _ in 0..5 {
            house.clock.store(START + hours * 3600 * SECOND, Ordering::Relaxed);
            journal.append(&pull("")).unwrap();
        }
    }
    for hours in -5..5 {
        let at = START + hours * 3600 * SECOND;
        let query = Query { from: Some(at), until: Some(at + 1), ..Query::default() };
        let expect = house.all().iter().filter(|record| record.time == at).count();
        assert_eq!(search(&house.path(), &query, &Window::default()).unwrap().records.len(), expect);
    }
}

#[test]
fn a_folder_without_journal_is_told() {
    let error = search(Path::new("/nowhere/audit"), &Query::default(), &Window::default()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/audit"), "{error}");
}
