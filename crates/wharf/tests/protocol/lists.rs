//! Lists of tags and of repositories, page by page.

use crate::{push_image, server};
use test_kit::http::{Client, Response};

/// The address of the next page, from `Link: <...>; rel="next"`.
fn next(response: &Response) -> Option<String> {
    let link = response.header("link")?;
    let (address, relation) = link.strip_prefix('<').and_then(|link| link.split_once('>')).expect("a Link");
    assert!(relation.contains("rel=\"next\""), "{link}");
    Some(match address.split_once("://") {
        Some((_, rest)) => rest[rest.find('/').expect("an address has a path")..].to_owned(),
        None => address.to_owned(),
    })
}

/// Follows a list to its end; returns all entries and how many pages there were.
fn all_pages(client: &Client, path: &str, key: &str) -> (Vec<String>, usize) {
    let mut entries = Vec::new();
    let mut path = Some(path.to_owned());
    let mut pages = 0;
    while let Some(this) = path {
        let page = client.get(&this).expect(200);
        let json = page.json();
        let list = json[key].as_array().unwrap_or_else(|| panic!("no list {key}: {page}"));
        assert!(!list.is_empty(), "an empty page: {page}");
        entries.extend(list.iter().filter_map(|entry| entry.as_str().map(str::to_owned)));
        path = next(&page);
        pages += 1;
        assert!(pages < 100, "the pages never end");
    }
    (entries, pages)
}

#[test]
fn tags_come_in_order_and_in_pages() {
    let server = server();
    let client = server.client();
    // Names that are prefixes of others, and whose order differs between bytes and other collations.
    let mut tags = vec!["1", "1.0", "1.0-rc", "10", "A", "B", "_", "a", "a-b", "a.b", "aa", "latest", "b"];
    for tag in &tags {
        push_image(&client, "pages", tag, tag);
    }
    tags.sort_unstable();
    for size in 1..=tags.len() + 1 {
        let (entries, pages) = all_pages(&client, &format!("/v2/pages/tags/list?n={size}"), "tags");
        assert_eq!(entries, tags, "in pages of {size}");
        // No page more than needed: none is empty, and the last has no link.
        assert_eq!(pages, tags.len().div_ceil(size), "in pages of {size}");
    }
    assert_eq!(all_pages(&client, "/v2/pages/tags/list", "tags").0, tags);
    let after = client.get("/v2/pages/tags/list?last=a").expect(200).json();
    assert_eq!(after["tags"], serde_json::json!(["a-b", "a.b", "aa", "b", "latest"]));
    assert_eq!(after["name"], "pages");
    // `last` need not be there, nor be a legal tag.
    let after = client.get("/v2/pages/tags/list?last=a%2Fz").expect(200).json();
    assert_eq!(after["tags"], serde_json::json!(["aa", "b", "latest"]));
    let end = client.get("/v2/pages/tags/list?n=5&last=zzz").expect(200);
    assert_eq!(end.json()["tags"], serde_json::json!([]));
    assert_eq!(end.header("link"), None);
}

#[test]
fn none_asked_for_is_none_given() {
    let server = server();
    let client = server.client();
    push_image(&client, "zero", "v1", "zero");
    for (path, key) in [("/v2/zero/tags/list?n=0", "tags"), ("/v2/_catalog?n=0", "repositories")] {
        let page = client.get(path).expect(200);
        assert_eq!(page.json()[key], serde_json::json!([]), "{page}");
        assert_eq!(page.header("link"), None, "{page}");
    }
}

#[test]
fn a_bad_page_is_refused() {
    let server = server();
    let client = server.client();
    push_image(&client, "page", "v1", "page");
    for n in ["-1", "x", "1.5", "99999999999999999999999", ""] {
        for path in ["/v2/page/tags/list", "/v2/_catalog"] {
            client.get(&format!("{path}?n={n}")).expect_error_form(400);
        }
    }
    // More than the server gives at once is not an error.
    client.get("/v2/page/tags/list?n=1000000").expect(200);
    client.get("/v2/_catalog?n=1000000").expect(200);
}

#[test]
fn an_unknown_repository_has_no_tags() {
    let server = server();
    server.client().get("/v2/no/such/tags/list").expect_error(404, "NAME_UNKNOWN");
}

#[test]
fn the_catalog_lists_each_repository_once() {
    let server = server();
    let client = server.client();
    assert_eq!(client.get("/v2/_catalog").expect(200).json()["repositories"], serde_json::json!([]));
    let mut names =
        vec!["a", "a/b", "a/b/c", "a-b", "a.b", "a0", "ab", "ab/c", "b", "tags/list", "manifests"];
    for name in &names {
        push_image(&client, name, "v1", name);
    }
    names.sort_unstable();
    for size in [1, 2, 3, 5, 11, 20] {
        let (entries, pages) = all_pages(&client, &format!("/v2/_catalog?n={size}"), "repositories");
        assert_eq!(entries, names, "in pages of {size}");
        assert_eq!(pages, names.len().div_ceil(size), "in pages of {size}");
    }
    for name in &names {
        let tags = client.get(&format!("/v2/{name}/tags/list")).expect(200).json();
        assert_eq!(tags["tags"], serde_json::json!(["v1"]), "{name}");
    }
}
