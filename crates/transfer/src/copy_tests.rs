//! What a copy promises, shown on ends in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci::{Descriptor, Platform, types};

use crate::fake::{Fake, run};
use crate::{
    Event, Limits, Options, Outcome, Progress, Report, Retry, Silent, Source, TransferError, copy_graph,
    select_platform,
};

fn options() -> Options {
    let retry = Retry { failures: 2, first: Duration::ZERO, longest: Duration::ZERO };
    Options { retry, tags: vec!["v1".parse().unwrap()], ..Options::default() }
}

async fn copy(
    from: &Arc<Fake>,
    to: &Arc<Fake>,
    root: &Descriptor,
    options: &Options,
) -> Result<Report, TransferError> {
    copy_graph(from.clone(), to.clone(), root.clone(), options, Arc::new(Silent)).await
}

/// An image with `layers` layers of its own.
fn image(fake: &Fake, name: &str, layers: usize) -> Descriptor {
    let layers: Vec<Descriptor> =
        (0..layers).map(|n| fake.put_blob(format!("{name} {n}").repeat(1000).as_bytes())).collect();
    fake.put_image(&layers, None)
}

fn with_platform(descriptor: Descriptor, os: &str, architecture: &str) -> Descriptor {
    let platform =
        Platform { architecture: architecture.into(), os: os.into(), os_version: None, variant: None };
    Descriptor { platform: Some(platform), ..descriptor }
}

#[test]
fn a_nested_index_arrives_whole_and_in_order() {
    run(async {
        let (from, to) = (Arc::new(Fake::default()), Arc::new(Fake::default()));
        let (a, b) = (image(&from, "a", 3), image(&from, "b", 12));
        let inner = from.put_index(&[a.clone(), b.clone()]);
        let root = from.put_index(&[inner.clone(), b.clone()]);
        let report = copy(&from, &to, &root, &options()).await.unwrap();
        assert_eq!(to.tagged("v1"), Some(root.digest));
        // 15 layers and the one configuration that both share.
        assert_eq!((report.manifests, report.blobs, report.present), (4, 16, 0));
        let order = to.pushed();
        let at = |d: &Descriptor| order.iter().position(|digest| *digest == d.digest).unwrap();
        assert!(at(&a) < at(&inner) && at(&b) < at(&inner) && at(&inner) < at(&root));
        assert_eq!(order.len(), 20, "each thing is pushed once");
        assert!(to.most_open() <= 6 && to.most_open() > 1, "{}", to.most_open());
    });
}

#[test]
fn only_what_is_missing_is_sent() {
    run(async {
        let (from, to) = (Arc::new(Fake::default()), Arc::new(Fake::default()));
        let layers = [from.put_blob(b"one"), from.put_blob(b"two")];
        to.put_blob(b"one");
        let root = from.put_image(&layers, None);
        let report = copy(&from, &to, &root, &options()).await.unwrap();
        assert_eq!((report.blobs, report.present, report.bytes), (2, 1, 5));
        let again = copy(&from, &to, &root, &options()).await.unwrap();
        assert_eq!((again.blobs, again.manifests, again.present), (0, 0, 1));
    });
}

#[test]
fn referrers_follow_on_request_and_the_tag_comes_last() {
    run(async {
        let from = Arc::new(Fake::default());
        let root = image(&from, "a", 1);
        let signature = from.put_image(&[from.put_blob(b"signature")], Some(&root));
        let attestation = from.put_image(&[from.put_blob(b"of the signature")], Some(&signature));
        let check = async |referrers: bool| {
            let to = Arc::new(Fake::default());
            copy(&from, &to, &root, &Options { referrers, ..options() }).await.unwrap();
            assert_eq!(to.holds(&signature.digest), referrers);
            assert_eq!(to.holds(&attestation.digest), referrers);
            assert_eq!(to.tagged("v1"), Some(root.digest));
            assert_eq!(to.pushed().last(), Some(&root.digest));
        };
        check(false).await;
        check(true).await;
    });
}

#[test]
fn one_platform_is_copied_alone() {
    run(async {
        let (from, to) = (Arc::new(Fake::default()), Arc::new(Fake::default()));
        let amd = with_platform(image(&from, "amd", 1), "linux", "amd64");
        let arm = with_platform(image(&from, "arm", 1), "linux", "arm64");
        let root = from.put_index(&[amd.clone(), arm.clone()]);
        let source: Arc<dyn Source> = from.clone();
        let select = async |wanted: &str| {
            select_platform(&source, root.clone(), &wanted.parse().unwrap(), &Limits::default()).await
        };
        let top = select("linux/arm64").await.unwrap();
        let report = copy(&from, &to, &top, &options()).await.unwrap();
        assert_eq!((top.digest, report.manifests), (arm.digest, 1));
        assert!(!to.holds(&amd.digest) && !to.holds(&root.digest));
        let error = select("linux/s390x").await.unwrap_err().to_string();
        assert!(error.contains("linux/amd64, linux/arm64"), "{error}");
    });
}

#[test]
fn a_sparse_index_is_copied_only_on_request() {
    run(async {
        let (from, to) = (Arc::new(Fake::default()), Arc::new(Fake::default()));
        let (here, gone) = (image(&from, "here", 1), image(&from, "gone", 1));
        let root = from.put_index(&[here.clone(), gone.clone()]);
        from.remove(&gone.digest);
        let refused = copy(&from, &to, &root, &options()).await;
        assert!(matches!(refused, Err(TransferError::Sparse { .. })), "{refused:?}");
        assert_eq!(to.tagged("v1"), None);
        let report = copy(&from, &to, &root, &Options { sparse: true, ..options() }).await.unwrap();
        assert_eq!((report.skipped, to.tagged("v1")), (1, Some(root.digest)));
    });
}

#[test]
fn a_referrer_that_is_only_listed_is_left_out_on_request() {
    run(async {
        let (from, to) = (Arc::new(Fake::default()), Arc::new(Fake::default()));
        let root = image(&from, "a", 1);
        let signature = from.put_image(&[from.put_blob(b"signature")], Some(&root));
        from.remove(&signature.digest);
        from.list(&root.digest, &signature);
        let options = Options { referrers: true, ..options() };
        let error = copy(&from, &to, &root, &options).await.unwrap_err().to_string();
        assert!(error.contains("--sparse"), "{error}");
        let report = copy(&from, &to, &root, &Options { sparse: true, ..options }).await.unwrap();
        assert_eq!((report.skipped, to.tagged("v1")), (1, Some(root.digest)));
    });
}

#[test]
fn foreign_layers_stay_where_they_are_unless_asked_for() {
    run(async {
        let from = Arc::new(Fake::default());
        let layer = from.put("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"windows");
        let root = from.put_image(std::slice::from_ref(&layer), None);
        let check = async |foreign: bool| {
            let to = Arc::new(Fake::default());
            copy(&from, &to, &root, &Options { foreign, ..options() }).await.unwrap();
            assert_eq!(to.holds(&layer.digest), foreign);
        };
        check(false).await;
        check(true).await;
    });
}

#[test]
fn an_index_may_hold_plain_blobs() {
    run(async {
        let (from, to) = (Arc::new(Fake::default()), Arc::new(Fake::default()));
        let layer = from.put_blob(b"cached layer");
        let config = from.put("application/vnd.buildkit.cacheconfig.v0", b"{}");
        let root = from.put_index(&[layer.clone(), config.clone()]);
        copy(&from, &to, &root, &options()).await.unwrap();
        assert!(to.holds(&layer.digest) && to.holds(&config.digest));
    });
}

#[test]
fn graphs_are_bounded() {
    run(async {
        let (from, to) = (Arc::new(Fake::default()), Arc::new(Fake::default()));
        let mut root = image(&from, "a", 3);
        for _ in 0..5 {
            root = from.put_index(&[root]);
        }
        let check = async |limits: Limits, good: bool| {
            let outcome = copy(&from, &to, &root, &Options { limits, ..options() }).await;
            assert_eq!(outcome.is_ok(), good, "{outcome:?}");
        };
        check(Limits { depth: 4, ..Limits::default() }, false).await;
        check(Limits { manifests: 5, ..Limits::default() }, false).await;
        check(Limits { blobs: 3, ..Limits::default() }, false).await;
        check(Limits { depth: 5, manifests: 6, blobs: 4, ..Limits::default() }, true).await;
    });
}

#[test]
fn wrong_content_is_never_tagged() {
    run(async {
        let check = async |which: usize| {
            let (from, to) = (Arc::new(Fake::default()), Arc::new(Fake::default()));
            let layer = from.put_blob(b"layer");
            let image = from.put_image(std::slice::from_ref(&layer), None);
            let root = from.put_index(std::slice::from_ref(&image));
            from.replace(&[&layer, &image, &root][which].digest, b"other");
            let outcome = copy(&from, &to, &root, &options()).await;
            assert!(matches!(outcome, Err(TransferError::Corrupt { .. })), "{outcome:?}");
            assert!(to.tagged("v1").is_none() && !to.holds(&root.digest));
        };
        for which in 0..3 {
            check(which).await;
        }
    });
}

#[test]
fn progress_hears_of_everything() {
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);
    impl Progress for Heard {
        fn event(&self, event: Event<'_>) {
            let text = match event {
                Event::Started(_) => "started".into(),
                Event::Position(_, position) => format!("at {position}"),
                Event::Retrying { reason, .. } => format!("retry: {reason}"),
                Event::Blob(_, outcome) => format!("blob {outcome:?}"),
                Event::Manifest(_, outcome) => format!("manifest {outcome:?}"),
            };
            self.0.lock().unwrap().push(text);
        }
    }
    run(async {
        let (from, to) = (Arc::new(Fake::default()), Arc::new(Fake::default()));
        to.put(types::OCI_CONFIG, b"{}");
        let root = from.put_image(&[from.put_blob(b"0123456789")], None);
        from.cut_after(4, 1);
        let heard = Arc::new(Heard::default());
        copy_graph(from, to, root, &options(), heard.clone()).await.unwrap();
        let heard = heard.0.lock().unwrap();
        let blob: Vec<&str> = heard.iter().map(String::as_str).filter(|t| *t != "blob Present").collect();
        assert!(heard.iter().any(|text| text == &format!("blob {:?}", Outcome::Present)));
        assert_eq!((blob[0], blob[1]), ("started", "at 4"));
        assert!(blob[2].starts_with("retry: the fake ended the blob"), "{}", blob[2]);
        assert_eq!(blob[3..], ["at 10", "blob Copied", "manifest Copied"]);
    });
}
